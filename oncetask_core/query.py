"""Listing: filters, orders and pages; `matches` is the executable specification of a filter."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum

import msgspec

from oncetask_core.errors import ConfigurationError
from oncetask_core.limits import check_id, check_kind, check_queue, check_resource_key, check_time
from oncetask_core.status import TaskStatus, status_of
from oncetask_core.task import OnceTask

MAX_PAGE = 1000


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks are meant; every field that is given must hold. Times are compared on the store's clock.

    Raises:
        ConfigurationError: A field has another type than it says (one text for a set, a text for a status or for a
            bool), names what no task can have, or is a naive time.
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
        self._check_names()
        for what, moment in (
            ("created_from of a filter", self.created_from),
            ("created_before of a filter", self.created_before),
            ("done_before of a filter", self.done_before),
        ):
            if moment is not None:
                check_time(moment, what, error=ConfigurationError)
        for name, flag in (
            ("live", self.live),
            ("due", self.due),
            ("run_out", self.run_out),
            ("generators", self.generators),
            ("suspects", self.suspects),
        ):
            if flag is not None:
                _check_flag(flag, name)

    def _check_names(self) -> None:
        if self.ids is not None:
            for task_id in _members(self.ids, "ids"):
                check_id(task_id, error=ConfigurationError)
        if self.kinds is not None:
            for kind in _members(self.kinds, "kinds"):
                check_kind(kind, error=ConfigurationError)
        if self.statuses is not None:
            for status in _members(self.statuses, "statuses"):
                _check_choice(status, TaskStatus, "a status of a filter")
        if self.resource_key is not None:
            check_resource_key(self.resource_key, error=ConfigurationError)
        if self.queue is not None:
            check_queue(self.queue, error=ConfigurationError)
        if self.parent_recurrence_id is not None:
            check_id(self.parent_recurrence_id, error=ConfigurationError)


class TaskOrder(StrEnum):
    """In which order tasks are listed."""

    OLDEST = "oldest"
    """By creation, the oldest first."""
    NEWEST = "newest"
    """By creation, the newest first."""


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. Whether there can be such a page, `check_query` says when a store is asked for it.

    Raises:
        ConfigurationError: `order` is no `TaskOrder`, `limit` no int, or `cursor` no text.
    """

    where: TaskFilter = TaskFilter()
    order: TaskOrder = TaskOrder.OLDEST
    limit: int = 100
    """At most this many tasks, 1 to 1,000."""
    cursor: str | None = None
    """The previous page's `cursor`; tasks created in between appear where the order puts them."""

    def __post_init__(self) -> None:
        _check_choice(self.order, TaskOrder, "the order of a listing")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int):
            raise ConfigurationError(
                value=self.limit, rule="the limit of a page is an int", remedy=f"Write one from 1 to {MAX_PAGE}."
            )
        if self.cursor is not None and not isinstance(self.cursor, str):
            raise ConfigurationError(
                value=self.cursor,
                rule="a cursor is the text that the page before has as its `cursor`",
                remedy="Pass page.cursor on as it is, or None for the first page.",
            )


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


def _members(values: object, name: str) -> AbstractSet[object]:
    if not isinstance(values, AbstractSet):
        raise ConfigurationError(value=values, rule=f"{name} of a filter is a set", remedy="Write frozenset({...}).")
    return values


def _check_flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(
            value=value,
            rule=f"{name} of a filter is True, False or None",
            remedy="Write one of those; None asks for neither.",
        )


def _check_choice(value: object, choices: type[StrEnum], what: str) -> None:
    """Refuse what is no member, the text of one included: stores tell members by identity."""
    if not isinstance(value, choices):
        meant = [choice for choice in choices if isinstance(value, str) and choice == value]
        names = " or ".join(f"{choices.__name__}.{choice.name}" for choice in meant or choices)
        raise ConfigurationError(value=value, rule=f"{what} is a {choices.__name__}", remedy=f"Write {names}.")


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
        position = int(base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")[2])
    except (ValueError, binascii.Error):
        position = 0
    if cursor != cursor_at(position, order):  # also where it says the same as one of ours in another form
        raise ConfigurationError(
            value=cursor,
            rule=f"a cursor comes from a page of the same order ({order.value})",
            remedy="Start again without a cursor.",
        )
    return position
