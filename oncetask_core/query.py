"""Listing: filters, orders and pages; `matches` is the executable specification of a filter."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum

import msgspec

from oncetask_core.errors import ConfigurationError
from oncetask_core.status import TaskStatus, status_of
from oncetask_core.task import OnceTask

MAX_PAGE = 1000


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks are meant; every field that is given must hold. Times are compared on the store's clock.

    Raises:
        ConfigurationError: What is to be a set is something else, such as one text, or a time is naive.
    """

    ids: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    statuses: frozenset[TaskStatus] | None = None
    resource_key: str | None = None
    queue: str | None = None
    parent_recurrence_id: str | None = None
    created_from: datetime | None = None
    """Created at this time or later."""
    created_before: datetime | None = None
    done_before: datetime | None = None
    """Finished, and before this time."""
    live: bool | None = None
    """Not finished (True) or finished (False)."""
    due: bool | None = None
    """Live, past its waiting time and without a lease that is still running, or not."""
    run_out: bool | None = None
    """Leased, and the lease has run out, or not."""
    generators: bool | None = None
    suspects: bool | None = None
    """Whether a worker vanished while it held the task."""

    def __post_init__(self) -> None:
        for name, values in (("ids", self.ids), ("kinds", self.kinds), ("statuses", self.statuses)):
            if values is not None and not isinstance(values, AbstractSet):
                raise ConfigurationError(
                    value=values, rule=f"{name} of a filter is a set", remedy="Write frozenset({...})."
                )
        for moment in (self.created_from, self.created_before, self.done_before):
            if moment is not None and moment.utcoffset() is None:
                raise ConfigurationError(
                    value=moment,
                    rule="a time of a filter is aware: it says in which zone it is meant",
                    remedy="Add a zone, as in datetime(..., tzinfo=UTC) or datetime.now(UTC).",
                )


class TaskOrder(StrEnum):
    """In which order tasks are listed."""

    OLDEST = "oldest"
    """By creation, the oldest first."""
    NEWEST = "newest"
    """By creation, the newest first."""


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing."""

    where: TaskFilter = TaskFilter()
    order: TaskOrder = TaskOrder.OLDEST
    limit: int = 100
    """At most this many tasks, 1 to 1,000."""
    cursor: str | None = None
    """The previous page's `cursor`; tasks created in between appear where the order puts them."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing found."""

    tasks: Sequence[OnceTask[object]]
    cursor: str | None = None
    """Pass it on for the next page; None when this was the last."""
    unreadable: Mapping[str, str] = {}
    """Why a record could not be read, by task id; it keeps nobody else from being listed."""

    def __iter__(self) -> Iterator[OnceTask[object]]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def matches(where: TaskFilter, task: OnceTask[object], now: datetime) -> bool:
    """Return whether `task` is meant by `where` at `now` (the store's time)."""
    return _matches_facts(where, task) and _matches_times(where, task, now)


def _matches_facts(where: TaskFilter, task: OnceTask[object]) -> bool:
    return (
        (where.ids is None or task.id in where.ids)
        and (where.kinds is None or task.kind in where.kinds)
        and (where.resource_key is None or task.resource_key == where.resource_key)
        and (where.queue is None or task.queue == where.queue)
        and (where.parent_recurrence_id is None or task.parent_recurrence_id == where.parent_recurrence_id)
        and (where.live is None or task.is_live is where.live)
        and (where.generators is None or task.is_generator is where.generators)
        and (where.suspects is None or task.is_suspect is where.suspects)
    )


def _matches_times(where: TaskFilter, task: OnceTask[object], now: datetime) -> bool:
    run_out = task.leased_until is not None and task.leased_until <= now
    free = task.leased_until is None or run_out
    due = task.is_live and task.wait_until <= now and free
    return (
        (where.statuses is None or status_of(task, now) in where.statuses)
        and (where.created_from is None or task.created_at >= where.created_from)
        and (where.created_before is None or task.created_at < where.created_before)
        and (where.done_before is None or (task.done_at is not None and task.done_at < where.done_before))
        and (where.due is None or due is where.due)
        and (where.run_out is None or run_out is where.run_out)
    )


def check_query(query: TaskQuery) -> None:
    """Refuse a page size or cursor that no store could serve.

    Raises:
        ConfigurationError: `limit` is out of bounds or `cursor` is not one of ours.
    """
    if not 1 <= query.limit <= MAX_PAGE:
        raise ConfigurationError(
            value=query.limit,
            rule=f"a page holds 1 to {MAX_PAGE} tasks",
            remedy="Ask for fewer and follow the cursor.",
        )
    if query.cursor is not None:
        read_cursor(query.cursor, query.order)


def cursor_after(task: OnceTask[object], order: TaskOrder) -> str:
    """Return the cursor of the page that follows `task`."""
    return cursor_at(task.sequence, order)


def cursor_at(sequence: int, order: TaskOrder) -> str:
    """Return the cursor of the page that follows the task with this sequence."""
    return base64.urlsafe_b64encode(f"{order.value}:{sequence}".encode()).decode()


def read_cursor(cursor: str, order: TaskOrder) -> int:
    """Return the sequence that the cursor points behind.

    Raises:
        ConfigurationError: The cursor is malformed or belongs to another order.
    """
    try:
        named, _, sequence = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        position = int(sequence)
    except (ValueError, binascii.Error):
        named, position = "", 0
    if named != order.value:
        raise ConfigurationError(
            value=cursor,
            rule=f"a cursor comes from a page of the same order ({order.value})",
            remedy="Start again without a cursor.",
        )
    return position
