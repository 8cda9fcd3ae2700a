"""Taking what is due: `claims.chosen`, without looking at all tasks."""

from collections.abc import Iterator
from datetime import datetime

from oncetask_core.claims import Claim, leased
from oncetask_core.task import OnceTask
from oncetask_memory.shelf import Shelf

Task = OnceTask[object]


def take(claim: Claim, shelf: Shelf, *, now: datetime, epochs: Iterator[int]) -> list[Task]:
    """Lease what the claim chooses, each task with an epoch of its own; return it in claim order."""
    taken: list[Task] = []
    for task in _suspect(claim, shelf) if claim.suspects else _chosen(claim, shelf, now):
        grant = leased(task, claim, now=now, epoch=next(epochs))
        shelf.put(grant, now)
        taken.append(grant)
    return taken


def _suspect(claim: Claim, shelf: Shelf) -> Iterator[Task]:
    suspect = shelf.first_suspect(claim.slots)
    if suspect is not None:
        yield suspect


def _chosen(claim: Claim, shelf: Shelf, now: datetime) -> Iterator[Task]:
    """Yield what is to be leased; each head is looked for when what was yielded before it is leased."""
    for kind, slots in claim.slots.items():
        for _ in range(slots.limit):
            head = shelf.first_ready(kind)
            if head is None:
                break
            followers = shelf.followers(head, now=now, limit=slots.group - 1)
            yield head
            yield from followers
