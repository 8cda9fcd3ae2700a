"""Listing and counting: the filters of the core over as few tasks as an index leaves."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice

from oncetask_core.query import (
    Page,
    TaskFilter,
    TaskOrder,
    TaskQuery,
    check_query,
    cursor_after,
    matches,
    read_cursor,
)
from oncetask_core.task import OnceTask
from oncetask_memory.shelf import Shelf

Task = OnceTask[object]


def page_of(query: TaskQuery, shelf: Shelf, now: datetime) -> Page:
    """Return one page of the tasks that match.

    Raises:
        ConfigurationError: The page size or cursor is invalid.
    """
    check_query(query)
    candidates = _behind_cursor(query, _in_order(query, shelf))
    found = (task for task in candidates if matches(query.where, task, now))
    page = list(islice(found, query.limit))
    is_last = next(found, None) is None
    return Page(tasks=page, cursor=None if is_last else cursor_after(page[-1], query.order))


def count(where: TaskFilter, shelf: Shelf, now: datetime) -> int:
    """Return how many tasks match."""
    return sum(matches(where, task, now) for task in _candidates(where, shelf))


def _behind_cursor(query: TaskQuery, tasks: Iterable[Task]) -> Iterator[Task]:
    if query.cursor is None:
        return iter(tasks)
    position = read_cursor(query.cursor, query.order)
    if query.order is TaskOrder.NEWEST:
        return (task for task in tasks if task.sequence < position)
    return (task for task in tasks if task.sequence > position)


def _in_order(query: TaskQuery, shelf: Shelf) -> Iterable[Task]:
    newest = query.order is TaskOrder.NEWEST
    if _narrowed(query.where, shelf) is None:
        every = shelf.tasks.values()
        return reversed(every) if newest else every
    return sorted(_candidates(query.where, shelf), key=lambda task: task.sequence, reverse=newest)


def _candidates(where: TaskFilter, shelf: Shelf) -> Iterable[Task]:
    ids = _narrowed(where, shelf)
    if ids is None:
        return shelf.tasks.values()
    return (shelf.tasks[task_id] for task_id in ids if task_id in shelf.tasks)


def _narrowed(where: TaskFilter, shelf: Shelf) -> Iterable[str] | None:
    """Return ids among which all that matches is found, or None if no index helps."""
    if where.ids is not None:
        return where.ids
    if where.run_out:
        return shelf.held()
    if where.live or where.due:
        return _live(where, shelf)
    if where.kinds is not None:
        return chain.from_iterable(shelf.of_kind.get(kind, ()) for kind in where.kinds)
    return None


def _live(where: TaskFilter, shelf: Shelf) -> Iterable[str]:
    if where.generators:
        return shelf.generators
    return shelf.suspects if where.suspects else shelf.live
