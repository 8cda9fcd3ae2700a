"""What may make a task earlier than the one that has its key's seat."""

from typing import Final

from oncetask_core.transition import Event

ADVANCING: Final = frozenset({Event.CANCEL, Event.RESET, Event.RESCHEDULE, Event.TICK})
"""After these events the seat of a key may belong to another task than the one that has it."""
