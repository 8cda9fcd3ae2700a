"""What may make a task earlier than the one that has its key's seat."""

from collections.abc import Sequence
from typing import Final

from oncetask_core.transition import Atom, Event

ADVANCING: Final = frozenset({Event.CANCEL, Event.RESET, Event.RESCHEDULE, Event.TICK})
"""After these events the seat of a key may belong to another task than the one that has it."""


def makes_work(atoms: Sequence[Atom]) -> bool:
    """Return whether other processes may find more to claim afterwards than by waiting for keys and times."""
    return any(atom.inserts or any(one.event in ADVANCING for one in atom.transitions) for atom in atoms)
