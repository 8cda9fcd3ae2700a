"""Resource keys as the stores on servers handle them: what has one seat."""

from collections.abc import Iterable
from typing import NamedTuple

from oncetask_core.task import NewTask
from oncetask_core.transition import Transition


class Key(NamedTuple):
    """What has one seat: a resource key within a kind."""

    kind: str
    key: str


def keys_of(tasks: Iterable[NewTask]) -> set[Key]:
    """Return the keys whose seats an insertion may concern."""
    return {Key(new.kind, new.resource_key) for new in tasks if new.resource_key is not None and not new.recurrence}


def keys_touched(transitions: Iterable[Transition]) -> set[Key]:
    """Return the keys whose seats changes of tasks may concern; progress moves none."""
    guards = [one.guard for one in transitions if one.bumps_revision]
    return {Key(guard.kind, guard.resource_key) for guard in guards if guard.resource_key is not None}
