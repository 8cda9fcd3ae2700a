"""Listing: filters and cursors."""

import base64
from datetime import timedelta

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


def test_page_is_its_tasks() -> None:
    """Iterating and counting need no detour."""
    tasks = [a_task(), changed(a_task(), id="u", wait_until=NOW + timedelta(days=1))]

    assert list(Page(tasks=tasks)) == tasks
    assert len(Page(tasks=tasks)) == 2
