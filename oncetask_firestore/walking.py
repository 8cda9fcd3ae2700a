"""Listing all tasks of an environment, page by page, without reading what lies behind the page.

Firestore keeps the second in which a task was created, and tasks of one second in no order of ours. So whole seconds
are read: from that of the cursor on, until the page is full and its last second complete.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from oncetask_core.query import TaskFilter, TaskOrder, TaskQuery, matches
from oncetask_firestore.database import TASKS, Database, Raw
from oncetask_firestore.messages import Condition, Query
from oncetask_firestore.place import Fault, Place, Stored
from oncetask_firestore.texts import parsed, rounded_down, to_micros

CHUNK: Final = 100
"""How many documents are read at once at least."""


class Position(NamedTuple):
    """A task's place in a listing."""

    second: int
    """That of its creation, since 1970."""
    sequence: int


class Shown(NamedTuple):
    """The part of a listing that one page shows."""

    after: Position | None
    last: Position | None
    """Its last task; None where the listing ends with the page."""
    newest: bool

    def holds(self, fault: Fault) -> bool:
        """Return whether a document that cannot be read belongs on the page, by the second of its creation."""
        second = _second(fault.raw)
        if self.after is not None and not self._is_later(second, self.after.second):
            return False
        return self.last is None or not self._is_later(second, self.last.second)

    def _is_later(self, second: int, other: int) -> bool:
        return second < other if self.newest else second > other


def is_behind(at: Position, after: Position | None, *, newest: bool) -> bool:
    """Return whether a place lies behind another in a listing."""
    return after is None or (at < after if newest else at > after)


async def walk(
    database: Database, place: Place, query: TaskQuery, *, after: Position | None
) -> tuple[list[Stored], list[Fault]]:
    """Return the tasks of whole seconds, enough for a page and for whether another follows; and what is unreadable."""
    newest, now = query.order is TaskOrder.NEWEST, place.time.now()
    edge = None if after is None else rounded_down(datetime.fromtimestamp(after.second, UTC))
    size, stored, faults = max(CHUNK, query.limit + 1), list[Stored](), list[Fault]()
    matched = 0
    while True:
        raws = await database.find(_window(place, query.where, edge, newest=newest).limit(size))
        is_last = len(raws) < size
        whole = raws if is_last else [raw for raw in raws if _text(raw) != _text(raws[-1])]
        if not is_last and not whole:
            size *= 2  # more tasks of one second than that
            continue
        read, broken = place.read_all(whole)
        stored, faults = [*stored, *read], [*faults, *broken]
        wanted = (one for one in read if matches(query.where, one.task, now))
        matched += sum(is_behind(position_of(one), after, newest=newest) for one in wanted)
        if is_last or matched > query.limit:
            return stored, faults
        edge = _text(raws[-1])


def position_of(stored: Stored) -> Position:
    """Return a task's place in a listing."""
    return Position(to_micros(stored.task.created_at) // 1_000_000, stored.task.sequence)


def _window(place: Place, filter_: TaskFilter, edge: str | None, *, newest: bool) -> Query:
    conditions: list[Condition] = [("env", "==", place.env)]
    if filter_.created_from is not None:
        conditions.append(("createdAt", ">=", rounded_down(filter_.created_from)))
    if filter_.created_before is not None:
        conditions.append(("createdAt", "<=", rounded_down(filter_.created_before)))
    if edge is not None:
        conditions.append(("createdAt", "<=" if newest else ">=", edge))
    return Query(TASKS).where(*conditions).order_by("-createdAt" if newest else "createdAt")


def _text(raw: Raw) -> str:
    return str(raw.fields.get("createdAt"))


def _second(raw: Raw) -> int:
    try:
        time = parsed(_text(raw))
    except ValueError:
        time = None
    return raw.created // 1_000_000 if time is None else to_micros(time) // 1_000_000
