"""What a claim may take of one kind, and when the next of it becomes due."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from google.cloud.firestore_v1.async_query import AsyncQuery

from oncetask_core.claims import claim_order, is_due
from oncetask_core.task import OnceTask
from oncetask_firestore.database import TASKS, Database, Raw, Write, where
from oncetask_firestore.extras import EXTRAS, SUSPECT
from oncetask_firestore.keys import Key, Line, line_of
from oncetask_firestore.place import Fault, Place, Stored, new_mark
from oncetask_firestore.texts import HIDDEN, rounded_up

Task = OnceTask[object]

SECOND: Final = timedelta(seconds=1)
SOON: Final = 10
"""How many of the next tasks are looked at for their exact time."""
LINES_AT_ONCE: Final = 8
SUSPECTS: Final = 300
"""How many suspects are looked at; they are few, and no index keeps them in order."""


class Unit(NamedTuple):
    """What is granted together: a keyless task, or the head of a key and its group."""

    members: Sequence[Stored]
    line: Line | None

    @property
    def head(self) -> Task:
        """The task that decides the unit's place."""
        return self.members[0].task


class Page(NamedTuple):
    """A page of due tasks."""

    units: Sequence[Unit]
    """In claim order."""
    last: Raw | None
    """Where the next page begins; None if this was the last one."""


class Candidates:
    """The due tasks of one kind, page by page.

    Args:
        database: Where they are.
        place: Whose they are.
        kind: Their kind.
        group: How many of a key are taken together.
        suspects: Whether only those that a worker vanished with are meant, instead of all others.
    """

    def __init__(self, database: Database, place: Place, kind: str, *, group: int, suspects: bool) -> None:
        self._database = database
        self._place = place
        self._kind = kind
        self._group = group
        self._suspects = suspects
        self._keys: set[str] = set()
        self.unreadable: dict[str, str] = {}
        """What was met, could not be read, and was set aside."""

    def again(self) -> None:
        """Begin anew: keys that were looked at may be looked at again."""
        self._keys.clear()

    async def page(self, size: int, after: Raw | None) -> Page:
        """Return the next due tasks: those without a key, and for each key the first of its line."""
        raws = await self._database.find(self._all_suspects() if self._suspects else self._due(size, after))
        stored, faults = self._place.read_all(raws)
        await self._set_aside(faults)
        now = self._place.time.now()
        due = [one for one in stored if is_due(one.task, now) and not one.task.is_generator]
        units = [Unit([one], None) for one in due if one.task.resource_key is None]
        lines = await self._lines(sorted(due, key=lambda one: claim_order(one.task)))
        units += [Unit([line.head, *line.followers], line) for line in lines]
        wanted = [unit for unit in units if unit.head.is_suspect is self._suspects]
        wanted.sort(key=lambda unit: claim_order(unit.head))
        return Page(wanted, raws[-1] if len(raws) == size else None)

    def _live(self) -> AsyncQuery:
        query = where(self._database.tasks(), ("env", "==", self._place.env), ("type", "==", self._kind))
        return where(query, ("doneAt", "==", ""))

    def _due(self, size: int, after: Raw | None) -> AsyncQuery:
        now = rounded_up(self._place.time.now())
        query = where(self._live(), ("leasedUntil", "==", ""), ("waitUntil", "<=", now))
        query = query.order_by("waitUntil").limit(size)
        if after is None:
            return query
        return query.start_after({"waitUntil": after.fields["waitUntil"], "__name__": after.name})

    def _all_suspects(self) -> AsyncQuery:
        return where(self._live(), (SUSPECT, "==", True)).limit(SUSPECTS)

    async def _lines(self, due: Iterable[Stored]) -> list[Line]:
        keys = dict.fromkeys(one.task.resource_key for one in due if one.task.resource_key is not None)
        fresh = [Key(self._kind, key) for key in keys if key not in self._keys]
        self._keys.update(keys)
        lines: list[Line] = []
        for start in range(0, len(fresh), LINES_AT_ONCE):
            part = fresh[start : start + LINES_AT_ONCE]
            found = await asyncio.gather(
                *(line_of(self._database, self._place, key, group=self._group) for key in part)
            )
            lines += [line for line, _ in found if line is not None]
            await self._set_aside([fault for _, faults in found for fault in faults])
        return lines

    async def _set_aside(self, faults: Iterable[Fault]) -> None:
        """Hide documents that cannot be read from every claim of either side; what they held is kept."""
        for fault in faults:
            mark = new_mark()
            aside = {"aside": fault.reason, "waitUntil": fault.raw.fields.get("waitUntil"), "write": mark}
            fields = {"waitUntil": HIDDEN, EXTRAS: aside | {"before": fault.raw.fields.get(EXTRAS)}}
            if await self._database.commit([Write(TASKS, fault.raw.name, fields, fault.raw.updated)], mark=mark):
                self.unreadable[fault.task_id] = fault.reason

    async def next_due(self) -> datetime | None:
        """Return the earliest later time at which a task or generator of the kind becomes due."""
        now = self._place.time.now()
        query = where(self._live(), ("leasedUntil", "==", ""), ("waitUntil", ">=", rounded_up(now)))
        query = where(query, ("waitUntil", "<", HIDDEN)).order_by("waitUntil").limit(SOON)
        raws = await self._database.find(query)
        stored, _ = self._place.read_all(raws)
        times = [one.task.wait_until for one in stored if one.task.wait_until > now]
        crowded = len(raws) == SOON  # of many within one second the earliest need not be among those that were read
        return min(times, default=now + SECOND if crowded else None)
