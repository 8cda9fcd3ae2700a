"""Filters, pages, ages and waits that no store could understand, or each in a way of its own."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from oncetask import ConfigurationError, TaskFilter, TaskManager, TaskStatus
from tests.asynchronous import asynchronous
from tests.worker.world import World

Action = Callable[[TaskManager], Awaitable[object]]

FILTERS: list[tuple[str, Callable[[], TaskFilter], str]] = [
    ("one kind", lambda: TaskFilter(kinds="job"), "kinds of a filter is a set; got 'job'"),  # type: ignore[arg-type]  # wrong on purpose
    ("a list of ids", lambda: TaskFilter(ids=["a"]), "ids of a filter is a set"),  # type: ignore[arg-type]  # wrong on purpose
    ("one status", lambda: TaskFilter(statuses=TaskStatus.FAILED), "statuses of a filter is a set"),  # type: ignore[arg-type]  # wrong on purpose
    ("the text of a status", lambda: TaskFilter(statuses=frozenset({"failed"})), "Write TaskStatus.FAILED."),  # type: ignore[arg-type]  # wrong on purpose
    ("a key that is no text", lambda: TaskFilter(resource_key=["a"]), "a resource key is a str"),  # type: ignore[arg-type]  # wrong on purpose
    ("a word for a flag", lambda: TaskFilter(due="no"), "due of a filter is True, False or None; got 'no'"),  # type: ignore[arg-type]  # wrong on purpose
    ("a naive time", lambda: TaskFilter(created_before=datetime(2030, 1, 1)), "aware"),  # noqa: DTZ001 - wrong on purpose
]


@pytest.mark.parametrize(("what", "make", "says"), FILTERS, ids=[row[0] for row in FILTERS])
def test_filters_that_mean_something_else_are_refused(what: str, make: Callable[[], TaskFilter], says: str) -> None:
    """Stores would differ in what they find by them."""
    with pytest.raises(ConfigurationError) as caught:
        make()

    assert says in str(caught.value), what


LISTINGS: list[tuple[str, Action, str]] = [
    ("a page of 0", lambda m: m.list_tasks(limit=0), "1 to 1000"),
    ("a page of 5,000", lambda m: m.list_tasks(limit=5000), "5000"),
    ("half a page", lambda m: m.list_tasks(limit=2.5), "limit"),  # type: ignore[arg-type]  # wrong on purpose
    ("a foreign cursor", lambda m: m.list_tasks(cursor="abc"), "abc"),
    ("a number for a cursor", lambda m: m.list_tasks(cursor=7), "page.cursor"),  # type: ignore[arg-type]  # wrong on purpose
    ("a text for an order", lambda m: m.list_tasks(order="newest"), "Write TaskOrder.NEWEST."),  # type: ignore[arg-type]  # wrong on purpose
    ("no order at all", lambda m: m.list_tasks(order="sideways"), "'sideways'"),  # type: ignore[arg-type]  # wrong on purpose
    ("a negative age", lambda m: m.delete_finished(timedelta(seconds=-5)), "older_than"),
    ("a negative wait", lambda m: m.wait("a", timeout=-1), "timeout"),
]


@pytest.mark.parametrize(("what", "action", "says"), LISTINGS, ids=[row[0] for row in LISTINGS])
def test_bad_listings_are_refused(what: str, action: Action, says: str) -> None:
    """Page sizes, orders, cursors and ages are checked."""

    @asynchronous
    async def check() -> None:
        with pytest.raises(ConfigurationError) as caught:
            await action(World().manager)
        assert says in str(caught.value), what

    check()
