"""What claims were granted: in which order it is answered, and whether it is still what it was."""

from collections.abc import Sequence

from oncetask_core.claims import Claim, claim_order
from oncetask_core.seats import seat_order
from oncetask_sql.codec import Row, Task, decode


def in_order(granted: Sequence[Task], asked: Claim) -> Sequence[Task]:
    """Return what was granted in claim order, the members of a group behind their head."""
    members: dict[tuple[str, str | None], list[Task]] = {}
    for task in sorted(granted, key=seat_order):
        if not is_head(task):
            members.setdefault((task.kind, task.resource_key), []).append(task)
    places = {kind: place for place, kind in enumerate(asked.slots)}
    heads = sorted(filter(is_head, granted), key=lambda t: (places.get(t.kind, 0), *claim_order(t)))
    ordered: list[Task] = []
    for head in heads:
        ordered.append(head)
        ordered += members.pop((head.kind, head.resource_key), ())
    return [*ordered, *(task for left in members.values() for task in left)]


def is_head(task: Task) -> bool:
    """Return whether a leased task was taken by itself, and not as a member of the group of another."""
    return task.resource_key is None or task.head_key is not None


def still_held(rows: Sequence[Row], task: Task) -> Task | None:
    """Return the record in the row of a task, if there is one and the very grant that its holder knows still holds it.

    Raises:
        UnreadableRowError: The row is damaged.
    """
    if not rows:
        return None
    found = decode(rows[0])
    is_same = (found.run_uid, found.lease_uid, found.epoch) == (task.run_uid, task.lease_uid, task.epoch)
    return found if is_same else None
