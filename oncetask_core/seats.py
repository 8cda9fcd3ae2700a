"""Who may be claimed next for a resource key: the executable specification of the seats.

Each key of a kind has one seat. Its rightful holder is the only task of the key that a claim may take,
so a claim never has to look at other tasks. Every path that inserts, ends a lease, moves a time or
removes a task ends with giving the seat to whoever it belongs to now.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from oncetask_core.task import OnceTask

_FIRST = datetime.min.replace(tzinfo=UTC)


def seat_order(task: OnceTask[object]) -> tuple[datetime, int]:
    """Return what orders the tasks of one key: due time then creation, or creation alone where order is strict."""
    return (_FIRST if task.strict_order else task.wait_until, task.sequence)


def contends(task: OnceTask[object]) -> bool:
    """Return whether the task takes part in the exclusion of its key; finished tasks and generators do not."""
    return task.resource_key is not None and task.is_live and not task.is_generator


def rightful_head(tasks: Iterable[OnceTask[object]]) -> OnceTask[object] | None:
    """Return the unleased task that the seat belongs to, given every task of one key; None if it belongs to none.

    While any task of the key is leased, no unleased one has the seat: a group keeps its key until its last
    member ends. A task in back-off lets an earlier one pass, unless the order is strict.
    """
    contenders = [task for task in tasks if contends(task)]
    if not contenders or any(task.lease_uid is not None for task in contenders):
        return None
    return min(contenders, key=seat_order)


def successors(
    head: OnceTask[object], tasks: Iterable[OnceTask[object]], *, now: datetime, limit: int
) -> Sequence[OnceTask[object]]:
    """Return the tasks that join the group of a head that is being claimed, in order, at most `limit`.

    A group takes due tasks that never crashed a worker; a strict order stops it at the first that is not due.
    A head that is a suspect is claimed alone.
    """
    if head.is_suspect:
        return []
    group: list[OnceTask[object]] = []
    for task in sorted((task for task in tasks if contends(task) and task.id != head.id), key=seat_order):
        joins = task.lease_uid is None and task.wait_until <= now and not task.is_suspect
        if joins and len(group) < limit:
            group.append(task)
        elif task.strict_order:
            break
    return group


def seat_faults(tasks: Sequence[OnceTask[object]]) -> list[str]:
    """Return what is wrong with the seats of one key, given every task of it; empty when all is well."""
    faults = [
        f"{task.id} has a seat but does not contend for the key"
        for task in tasks
        if task.head_key is not None and not contends(task)
    ]
    unleased = {task.id for task in tasks if task.head_key is not None and task.lease_uid is None}
    rightful = rightful_head(tasks)
    expected = set() if rightful is None else {rightful.id}
    if unleased != expected:
        faults.append(f"the seat belongs to {sorted(expected)} and not to {sorted(unleased)}")
    if sum(task.head_key is not None for task in tasks) > 1:
        faults.append(f"several tasks hold the seat: {sorted(t.id for t in tasks if t.head_key is not None)}")
    if len({task.lease_uid for task in tasks if task.lease_uid is not None}) > 1:
        faults.append("two leases hold the key")
    return faults
