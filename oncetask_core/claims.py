"""Which tasks a claim takes: the executable specification of `TaskStore.claim`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from oncetask_core.seats import successors
from oncetask_core.task import OnceTask


class Slots(msgspec.Struct, frozen=True):
    """How much of one kind a worker can take."""

    limit: int
    """How many handler calls may be started: heads of keys and keyless tasks."""
    group: int = 1
    """How many tasks of one key a call may take, the head included."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim call of a worker."""

    lease_uid: str
    """New for every claim call; the same again when a lost reply makes the worker repeat it."""
    leased_by: str
    """The worker's name, for people."""
    lease_for: timedelta
    slots: Mapping[str, Slots]
    """By kind; kinds that are not named are not touched."""
    suspects: bool = False
    """Whether to take tasks that crashed a worker instead of all others: one at a time, by itself."""


def is_due(task: OnceTask[object], now: datetime) -> bool:
    """Return whether the task is live, unleased and past its waiting time at `now` (the store's time)."""
    return task.is_live and task.lease_uid is None and task.wait_until <= now


def is_claimable(task: OnceTask[object], now: datetime) -> bool:
    """Return whether a claim at `now` may take the task: due, no generator, and keyless or seated."""
    keyed_in_turn = task.resource_key is None or task.head_key is not None
    return is_due(task, now) and not task.is_generator and keyed_in_turn


def claim_order(task: OnceTask[object]) -> tuple[datetime, int]:
    """Return what orders a claim's candidates: `order_at`, then creation."""
    return (task.order_at, task.sequence)


def chosen(claim: Claim, tasks: Sequence[OnceTask[object]], now: datetime) -> list[OnceTask[object]]:
    """Return the tasks that `claim` takes out of all `tasks` of its environment at `now`, each group together."""
    claimable = sorted((task for task in tasks if is_claimable(task, now)), key=claim_order)
    if claim.suspects:
        return [task for task in claimable if task.is_suspect and task.kind in claim.slots][:1]
    taken: list[OnceTask[object]] = []
    for kind, slots in claim.slots.items():
        heads = [task for task in claimable if task.kind == kind and not task.is_suspect]
        for head in heads[: slots.limit]:
            taken.append(head)
            taken.extend(_group_of(head, tasks, now=now, size=slots.group))
    return taken


def _group_of(
    head: OnceTask[object], tasks: Iterable[OnceTask[object]], *, now: datetime, size: int
) -> Sequence[OnceTask[object]]:
    if head.resource_key is None or size <= 1:
        return []
    of_key = [task for task in tasks if (task.kind, task.resource_key) == (head.kind, head.resource_key)]
    return successors(head, of_key, now=now, limit=size - 1)


def leased(task: OnceTask[object], claim: Claim, *, now: datetime, epoch: int) -> OnceTask[object]:
    """Return the record of a task that `claim` takes at `now`; `epoch` is the fence number of this grant."""
    return msgspec.structs.replace(
        task,
        lease_uid=claim.lease_uid,
        leased_by=claim.leased_by,
        leased_until=now + claim.lease_for,
        epoch=epoch,
        in_cleanup=task.is_cancelled,
        started_at=now,
        claims=task.claims + 1,
        revision=task.revision + 1,
    )


def next_due(tasks: Iterable[OnceTask[object]], kinds: Iterable[str], now: datetime) -> datetime | None:
    """Return the earliest time after `now` at which an unleased task or generator of `kinds` becomes due."""
    wanted = frozenset(kinds)
    times = [
        task.wait_until
        for task in tasks
        if task.kind in wanted and task.is_live and task.lease_uid is None and task.wait_until > now
    ]
    return min(times, default=None)
