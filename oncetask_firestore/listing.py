"""Reading: by id, by filter, counting. A query narrows as far as Firestore can; the core's own filter decides."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from oncetask_core.query import (
    Page,
    TaskFilter,
    TaskOrder,
    TaskQuery,
    check_query,
    cursor_at,
    matches,
    read_cursor,
)
from oncetask_core.store import Found
from oncetask_core.task import OnceTask
from oncetask_firestore.database import TASKS, Database
from oncetask_firestore.extras import SUSPECT
from oncetask_firestore.keys import Key, line_of
from oncetask_firestore.messages import Condition, Query
from oncetask_firestore.place import Fault, Place, Stored
from oncetask_firestore.texts import rounded_down
from oncetask_firestore.walking import Position, Shown, is_behind, position_of, walk

Task = OnceTask[object]

_BITS: Final = 64
"""How much of a cursor's number is the sequence; the second of creation stands before it."""
SEATS: Final = 8
"""Of how many keys a listing of due suspects looks up who may be claimed."""
MOST_VALUES: Final = 30
"""How many values Firestore compares a field with in one query."""


async def get(database: Database, place: Place, ids: Collection[str]) -> Found:
    """Return the tasks with these ids."""
    found = await place.load(database, ids)
    return Found(
        tasks={task_id: one.task for task_id, one in found.items() if isinstance(one, Stored)},
        unreadable={task_id: one.reason for task_id, one in found.items() if isinstance(one, Fault)},
    )


async def find(database: Database, place: Place, query: TaskQuery) -> Page:
    """Return one page of the tasks that match, by the second of their creation, then by their sequence.

    Raises:
        ConfigurationError: The page size or cursor is invalid.
    """
    check_query(query)
    after = None if query.cursor is None else _position(read_cursor(query.cursor, query.order))
    if _is_walked(query.where):
        stored, faults = await walk(database, place, query, after=after)
    else:
        stored, faults = await _all(database, place, query.where)
    now, newest = place.time.now(), query.order is TaskOrder.NEWEST
    found = sorted(((position_of(one), one.task) for one in stored), key=itemgetter(0), reverse=newest)
    tasks = [
        (at, task) for at, task in found if is_behind(at, after, newest=newest) and matches(query.where, task, now)
    ]
    page = tasks[: query.limit]
    if query.where.suspects and query.where.due:
        page = [(at, task) for (at, _), task in zip(page, await _seated(database, place, page), strict=True)]
    is_last = len(tasks) == len(page)
    cursor = None if is_last else cursor_at(page[-1][0].second << _BITS | page[-1][0].sequence, query.order)
    shown = Shown(after, None if is_last else page[-1][0], newest=newest)
    unreadable = {fault.task_id: fault.reason for fault in faults if shown.holds(fault)}
    return Page(tasks=[task for _, task in page], cursor=cursor, unreadable=unreadable)


async def _seated(database: Database, place: Place, page: Sequence[tuple[Position, Task]]) -> list[Task]:
    """Return the tasks with the seats of their keys, which no document holds: workers ask which suspects may be had."""
    tasks = [task for _, task in page]
    keys = {Key(task.kind, task.resource_key): task for task in tasks if task.resource_key is not None}
    lines = await asyncio.gather(*(line_of(database, place, key, group=1) for key in list(keys)[:SEATS]))
    heads = {line.head.task.id for line in lines if line is not None}
    return [msgspec.structs.replace(task, head_key=task.resource_key) if task.id in heads else task for task in tasks]


def _is_walked(filter_: TaskFilter) -> bool:
    """Tell whether a listing goes along all tasks of the environment, rather than those of a kind, key or state."""
    by_state = filter_.run_out or filter_.generators or filter_.suspects or filter_.live or filter_.due
    named = (filter_.ids, filter_.kinds, filter_.resource_key, filter_.parent_recurrence_id, filter_.done_before)
    return not by_state and all(one is None for one in named)


def _position(number: int) -> Position:
    return Position(number >> _BITS, number & ((1 << _BITS) - 1))


async def count(database: Database, place: Place, filter_: TaskFilter) -> int:
    """Return how many tasks match: Firestore counts where its conditions say all of the filter, else we do."""
    if _is_said_by_conditions(filter_):
        return await database.count(narrowed(Query(TASKS), place, filter_))
    stored, _ = await _all(database, place, filter_)
    now = place.time.now()
    return sum(matches(filter_, one.task, now) for one in stored)


def _is_said_by_conditions(filter_: TaskFilter) -> bool:
    """Tell whether a filter names nothing but what a query compares exactly as we do."""
    plain = TaskFilter(
        kinds=filter_.kinds,
        resource_key=filter_.resource_key,
        parent_recurrence_id=filter_.parent_recurrence_id,
        live=filter_.live or None,
    )
    return filter_ == plain and (filter_.kinds is None or 0 < len(filter_.kinds) <= MOST_VALUES)


async def _all(database: Database, place: Place, filter_: TaskFilter) -> tuple[list[Stored], list[Fault]]:
    """Return every task that may match."""
    if filter_.ids is not None:
        found = await place.load(database, filter_.ids)
        stored = [one for one in found.values() if isinstance(one, Stored)]
        return stored, [one for one in found.values() if isinstance(one, Fault)]
    if filter_.kinds is not None and not filter_.kinds:
        return [], []
    return place.read_all(await database.find(narrowed(Query(TASKS), place, filter_)))


def narrowed(query: Query, place: Place, filter_: TaskFilter) -> Query:
    """Return a query of all that may match, in one of the few forms that `firestore.indexes.json` has indexes for."""
    query = query.where(("env", "==", place.env))
    by_kind = () if filter_.kinds is None or len(filter_.kinds) > MOST_VALUES else tuple(sorted(filter_.kinds))
    if by_kind and filter_.run_out:
        now = rounded_down(place.time.now())
        return query.where(("type", "in", by_kind), ("leasedUntil", ">", ""), ("leasedUntil", "<=", now))
    if by_kind and filter_.generators and (filter_.live or filter_.due):
        return query.where(("type", "in", by_kind), ("doneAt", "==", ""), ("recurrence.rrule", ">", ""))
    equal = list(_equalities(filter_))
    if equal or by_kind:
        return query.where(*equal, *((("type", "in", by_kind),) if by_kind else ()))
    return query.where(*_range(filter_))


def _equalities(filter_: TaskFilter) -> Iterator[Condition]:
    if filter_.resource_key is not None:
        yield ("resourceKey", "==", filter_.resource_key)
    if filter_.parent_recurrence_id is not None:
        yield ("parentRecurrenceId", "==", filter_.parent_recurrence_id)
    if filter_.live or filter_.due:
        yield ("doneAt", "==", "")
    if filter_.suspects:
        yield (SUSPECT, "==", True)


def _range(filter_: TaskFilter) -> Iterator[Condition]:
    if filter_.done_before is not None:
        yield ("doneAt", ">", "")
        yield ("doneAt", "<=", rounded_down(filter_.done_before))
        return
    if filter_.created_from is not None:
        yield ("createdAt", ">=", rounded_down(filter_.created_from))
    if filter_.created_before is not None:
        yield ("createdAt", "<=", rounded_down(filter_.created_before))
