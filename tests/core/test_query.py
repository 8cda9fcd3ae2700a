"""Listing: filters and cursors."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest

from oncetask_core.errors import ConfigurationError
from oncetask_core.query import (
    MAX_PAGE,
    Page,
    TaskFilter,
    TaskOrder,
    TaskQuery,
    check_query,
    cursor_after,
    matches,
    read_cursor,
)
from oncetask_core.status import TaskStatus
from tests.core.records import NOW, SECOND, STATES, Task, a_generator, a_task, changed

OLD = a_task(created_at=NOW - SECOND)
CASES = [
    (TaskFilter(), a_task(), True),
    (TaskFilter(ids=frozenset({"t"})), a_task(), True),
    (TaskFilter(ids=frozenset()), a_task(), False),
    (TaskFilter(kinds=frozenset({"kind"})), a_task(), True),
    (TaskFilter(kinds=frozenset({"other"})), a_task(), False),
    (TaskFilter(resource_key="key"), a_task(resource_key="key"), True),
    (TaskFilter(resource_key="key"), a_task(), False),
    (TaskFilter(queue="slow"), a_task(queue="slow"), True),
    (TaskFilter(queue="slow"), a_task(), False),
    (TaskFilter(parent_recurrence_id="g"), a_task(parent_recurrence_id="g"), True),
    (TaskFilter(parent_recurrence_id="g"), a_task(), False),
    (TaskFilter(live=True), STATES["in clean-up"], True),
    (TaskFilter(live=True), STATES["failed"], False),
    (TaskFilter(live=False), STATES["failed"], True),
    (TaskFilter(generators=True), a_generator(), True),
    (TaskFilter(generators=True), a_task(), False),
    (TaskFilter(generators=False), a_task(), True),
    (TaskFilter(suspects=True), a_task(crashes=1), True),
    (TaskFilter(suspects=True), a_task(), False),
    (TaskFilter(suspects=False), a_task(), True),
    (TaskFilter(created_from=NOW), a_task(), True),
    (TaskFilter(created_from=NOW), OLD, False),
    (TaskFilter(created_before=NOW), a_task(), False),
    (TaskFilter(created_before=NOW), OLD, True),
    (TaskFilter(done_before=NOW), STATES["pending"], False),
    (TaskFilter(done_before=NOW), STATES["completed"], False),
    (TaskFilter(done_before=NOW + SECOND), STATES["completed"], True),
    (TaskFilter(created_from=NOW, queue="slow"), a_task(), False),
]


@pytest.mark.parametrize(("where", "task", "meant"), CASES)
def test_filter_means_what_it_says(*, where: TaskFilter, task: Task, meant: bool) -> None:
    """Every field that is given must hold; times begin at their moment and end before it."""
    assert matches(where, task, NOW) is meant


DUE = {"pending", "run out", "waits for clean-up", "generator"}


@pytest.mark.parametrize("state", list(STATES))
def test_due_is_what_a_free_worker_would_have_to_do(state: str) -> None:
    """Live, past its waiting time and without a lease that is still running."""
    assert matches(TaskFilter(due=True), STATES[state], NOW) == (state in DUE)
    assert matches(TaskFilter(due=False), STATES[state], NOW) == (state not in DUE)


@pytest.mark.parametrize("state", list(STATES))
def test_leases_that_ran_out_are_found(state: str) -> None:
    """At the very moment at which an expiry would hold."""
    assert matches(TaskFilter(run_out=True), STATES[state], NOW) == (state == "run out")
    assert matches(TaskFilter(run_out=False), STATES[state], NOW) == (state != "run out")


def test_statuses_are_those_of_the_moment() -> None:
    """A waiting task is listed as pending once its time has come."""
    where = TaskFilter(statuses=frozenset({TaskStatus.PENDING}))

    assert not matches(where, STATES["waiting"], NOW)
    assert matches(where, STATES["waiting"], NOW + SECOND)


@pytest.mark.parametrize("order", list(TaskOrder))
def test_cursor_points_behind_its_task(order: TaskOrder) -> None:
    """It can be read back for the same order."""
    assert read_cursor(cursor_after(a_task(sequence=12345), order), order) == 12345


FOREIGN = [
    cursor_after(a_task(), TaskOrder.NEWEST),
    "",
    "%%%",
    "\ud800",
    base64.urlsafe_b64encode(b"\xff\xff").decode(),
    base64.urlsafe_b64encode(b"oldest:").decode(),
    base64.urlsafe_b64encode(b"oldest:x").decode(),
    base64.urlsafe_b64encode(b"oldest: 5").decode(),
    base64.urlsafe_b64encode(b"oldest:05").decode(),
    f"{cursor_after(a_task(), TaskOrder.OLDEST)}\n",
    base64.urlsafe_b64encode(b"oldest").decode(),
]


@pytest.mark.parametrize("cursor", FOREIGN)
def test_foreign_cursors_are_refused(cursor: str) -> None:
    """A cursor of another order, or of nobody, is a mistake of the caller."""
    with pytest.raises(ConfigurationError, match="a cursor comes from a page of the same order"):
        check_query(TaskQuery(cursor=cursor))


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
def test_page_sizes_out_of_bounds_are_refused(limit: int) -> None:
    """A page holds 1 to 1,000 tasks."""
    with pytest.raises(ConfigurationError, match="a page holds 1 to 1000 tasks"):
        check_query(TaskQuery(limit=limit))


def test_sound_queries_pass() -> None:
    """With and without a cursor, of the smallest and the largest page."""
    check_query(TaskQuery(limit=1))
    assert TaskQuery().limit == 100
    check_query(TaskQuery(limit=MAX_PAGE, order=TaskOrder.NEWEST, cursor=cursor_after(a_task(), TaskOrder.NEWEST)))


class Kind(StrEnum):
    """Kinds as an application may name them."""

    LETTER = "letter"


REFUSED: list[tuple[Mapping[str, object], str, str]] = [
    ({"ids": ["a"]}, "ids of a filter is a set; got ['a']", "frozenset"),
    ({"kinds": "job"}, "kinds of a filter is a set; got 'job'", "frozenset"),
    ({"statuses": TaskStatus.FAILED}, "statuses of a filter is a set", "frozenset"),
    ({"ids": {7}}, "a task id is a str; got 7", "str()"),
    ({"ids": {"a", "a\0b"}}, "a task id has no control characters (NUL included); got 'a\\x00b'", "escape"),
    ({"ids": {"\ud800"}}, "a task id has no lone surrogates", "surrogateescape"),
    ({"ids": {"x" * 513}}, "a task id has 1 to 512 bytes", "Shorten"),
    ({"kinds": {None}}, "a kind is a str; got None", "str()"),
    ({"kinds": {"job", ""}}, "a kind has 1 to 128 bytes of UTF-8, not 0; got ''", "Name it"),
    ({"statuses": {"failed"}}, "a status of a filter is a TaskStatus; got 'failed'", "Write TaskStatus.FAILED."),
    ({"statuses": {"bogus"}}, "a TaskStatus; got 'bogus'", "TaskStatus.WAITING or TaskStatus.PENDING or"),
    ({"statuses": {TaskStatus.FAILED, None}}, "a TaskStatus; got None", "TaskStatus.WAITING or"),
    ({"statuses": {TaskOrder.OLDEST}}, "a TaskStatus; got <TaskOrder.OLDEST", "TaskStatus.WAITING or"),
    ({"resource_key": ["a"]}, "a resource key is a str; got ['a']", "str()"),
    ({"resource_key": "a\0"}, "a resource key has no control characters", "escape"),
    ({"resource_key": "e\u0301"}, "a resource key is in Unicode normal form NFC", "normalize"),
    ({"queue": 7}, "the name of a queue is a str; got 7", "str()"),
    ({"queue": "\udfff"}, "the name of a queue has no lone surrogates", "surrogateescape"),
    ({"parent_recurrence_id": b"g"}, "a task id is a str; got b'g'", "str()"),
    *(
        ({name: value}, f"{name} of a filter is True, False or None; got {value!r}", "Write one of those")
        for name in ("live", "due", "run_out", "generators", "suspects")
        for value in ("no", 0)
    ),
    *(
        ({name: value}, f"{name} of a filter {rule}", way_out)
        for name in ("created_from", "created_before", "done_before")
        for value, rule, way_out in (
            (1.5, "is a datetime; got 1.5", "aware"),
            (NOW.replace(tzinfo=None), "is aware", "tzinfo=UTC"),
        )
    ),
]


@pytest.mark.parametrize(("fields", "says", "way_out"), REFUSED)
def test_filters_of_something_else_are_refused(fields: dict[str, object], says: str, way_out: str) -> None:
    """What no store could compare, or each in a way of its own, makes no filter."""
    with pytest.raises(ConfigurationError) as caught:
        TaskFilter(**fields)  # type: ignore[arg-type]  # wrong on purpose

    assert says in str(caught.value)
    assert way_out in caught.value.remedy


SOUND: list[Mapping[str, object]] = [
    {"ids": set(), "kinds": frozenset(), "statuses": set()},
    {"ids": {"a": 1}.keys(), "kinds": {Kind.LETTER}},
    {"resource_key": "\u00e9 \u4e2d", "queue": Kind.LETTER, "parent_recurrence_id": "x" * 512},
    {"statuses": set(TaskStatus), "live": True, "due": False},
    {"created_from": datetime.min.replace(tzinfo=UTC), "created_before": datetime.max.replace(tzinfo=UTC)},
]


@pytest.mark.parametrize("fields", SOUND)
def test_sound_filters_are_kept_as_they_are(fields: dict[str, object]) -> None:
    """Any set will do, and whatever a task can have."""
    where = TaskFilter(**fields)  # type: ignore[arg-type]  # by name

    assert {name: getattr(where, name) for name in fields} == fields


MISTYPED: list[tuple[Mapping[str, object], str, str]] = [
    ({"order": "newest"}, "the order of a listing is a TaskOrder; got 'newest'", "Write TaskOrder.NEWEST."),
    ({"order": "sideways"}, "a TaskOrder; got 'sideways'", "Write TaskOrder.OLDEST or TaskOrder.NEWEST."),
    ({"order": None}, "a TaskOrder; got None", "TaskOrder.OLDEST or"),
    ({"limit": 2.5}, "the limit of a page is an int; got 2.5", "1 to 1000"),
    ({"limit": "3"}, "the limit of a page is an int; got '3'", "1 to 1000"),
    ({"limit": True}, "the limit of a page is an int; got True", "1 to 1000"),
    ({"limit": None}, "the limit of a page is an int; got None", "1 to 1000"),
    ({"cursor": 5}, "a cursor is the text that the page before has as its `cursor`; got 5", "page.cursor"),
    ({"cursor": b"b2xkZXN0OjE="}, "a cursor is the text", "page.cursor"),
]


@pytest.mark.parametrize(("fields", "says", "way_out"), MISTYPED)
def test_queries_of_something_else_are_refused(fields: dict[str, object], says: str, way_out: str) -> None:
    """Orders, sizes and cursors are told apart by their types before a store sees them."""
    with pytest.raises(ConfigurationError) as caught:
        TaskQuery(**fields)  # type: ignore[arg-type]  # wrong on purpose

    assert says in str(caught.value)
    assert way_out in caught.value.remedy


def test_page_is_its_tasks() -> None:
    """Iterating and counting need no detour."""
    tasks = [a_task(), changed(a_task(), id="u", wait_until=NOW + timedelta(days=1))]

    assert list(Page(tasks=tasks)) == tasks
    assert len(Page(tasks=tasks)) == 2
