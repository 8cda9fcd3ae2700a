"""What a claim may take of one kind, and when the next of it becomes due.

The earliest due tasks come first, a page of them. Only where that page is full and yet not enough of it can be had,
because its keys are busy, the rest is looked for along two lanes: tasks without a key, and keys one behind the other,
each by its first task. So any number of tasks of one busy key delays nobody.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from oncetask_core.claims import claim_order, is_due
from oncetask_core.seats import rightful_head, successors
from oncetask_core.task import OnceTask
from oncetask_firestore import messages
from oncetask_firestore.database import TASKS, Database, Raw, UnwritableError, Write
from oncetask_firestore.extras import EXTRAS, SUSPECT
from oncetask_firestore.fleet import Fleet
from oncetask_firestore.keys import Key, Line, line_of
from oncetask_firestore.memory import Memory, Window
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Fault, Place, Stored, new_mark
from oncetask_firestore.texts import HIDDEN, rounded_up

Task = OnceTask[object]

SECOND: Final = timedelta(seconds=1)
PAGE: Final = 100
"""How many due tasks are read at once at least."""
SOON: Final = 10
"""How many of the next tasks are looked at for their exact time."""
LINES_AT_ONCE: Final = 8
NEARLY_FULL: Final = 300_000
"""Bytes on the wire from which on a document may have the 1 MiB that Firestore counts, eight for each int."""
SUSPECTS: Final = 300
"""How many suspects are looked at; they are few, and no index keeps them in order."""
JUMP: Final = 5
"""How many tasks are read to find the next keys."""
JUMPS: Final = 40
"""How often a claim looks for the next keys; the next claim goes on behind them."""


class Unit(NamedTuple):
    """What is granted together: a keyless task, or the head of a key and its group."""

    members: Sequence[Stored]
    line: Line | None

    @property
    def head(self) -> Task:
        """The task that decides the unit's place."""
        return self.members[0].task


class Candidates:
    """The due tasks of one kind.

    Args:
        database: Where they are.
        place: Whose they are.
        memory: What was read or written before.
        fleet: Who else claims.
        kind: Their kind.
        group: How many of a key are taken together.
        suspects: Whether only those that a worker vanished with are meant, instead of all others.
    """

    def __init__(
        self,
        database: Database,
        place: Place,
        memory: Memory,
        *,
        fleet: Fleet,
        kind: str,
        group: int,
        suspects: bool,
    ) -> None:
        self._database = database
        self._place = place
        self._memory = memory
        self._fleet = fleet
        self._kind = kind
        self._group = group
        self._suspects = suspects
        self._keys: set[str] = set()
        """The keys that were looked at in this claim."""
        self._window: Window | None = None
        self._taken: set[str] = set()
        self.unreadable: dict[str, str] = {}
        """What was met, could not be read, and was set aside."""

    def again(self) -> None:
        """Begin anew: keys that were looked at may be looked at again."""
        self._keys.clear()

    async def remembered(self) -> list[Unit]:
        """Return what was read a moment ago and not claimed, in claim order."""
        self._window = self._memory.window(self._kind)
        return [] if self._window is None else await self._units(self._window.stored, is_fresh=False)

    async def first(self, free: int) -> tuple[list[Unit], bool]:
        """Return the earliest due tasks in claim order, and whether there may be more."""
        size = max(PAGE, 2 * free)
        raws = await self._database.find(self._due().order_by("waitUntil").limit(size))
        stored = await self._read(raws)
        is_full = len(raws) == size
        mine = await self._fleet.share(self._database, stored) if is_full else stored
        self._window = self._memory.new_window(mine) if is_full else None
        return await self._units(mine, is_fresh=True, has_first=True), is_full

    async def keyless(self, free: int) -> list[Unit]:
        """Return the earliest due tasks without a key."""
        query = self._due().where(("resourceKey", "==", "")).order_by("waitUntil").limit(free)
        return await self._units(await self._read(await self._database.find(query)), is_fresh=True)

    async def keys(self, free: int) -> list[Unit]:
        """Return what can be had of the next keys, whichever those are."""
        if not self._memory.may_walk(self._kind):
            return []
        cursors, start = self._memory.cursors, self._memory.cursors.get(self._kind, "")
        units: list[Unit] = []
        behind, wrapped = start, False
        for _ in range(JUMPS):
            query = self._due().where(("resourceKey", ">", behind))
            raws = await self._database.find(query.order_by("resourceKey", "waitUntil").limit(JUMP))
            units += await self._units(await self._read(raws), is_fresh=False)
            if raws:
                behind = raws[-1].fields["resourceKey"]
            if len(units) >= free or (wrapped and (not raws or behind >= start)):
                break
            if len(raws) < JUMP:
                behind, wrapped = "", True
        cursors[self._kind] = behind
        self._memory.walked(self._kind, found=bool(units))
        return units

    async def suspects(self) -> list[Unit]:
        """Return the suspects that are due."""
        query = self._live().where((SUSPECT, "==", True)).limit(SUSPECTS)
        return await self._units(await self._read(await self._database.find(query)), is_fresh=True)

    def lost(self) -> None:
        """Trust nothing of what was read a moment ago: others were faster."""
        self._window = None
        self._fleet.conflicted()

    def took(self, unit: Unit) -> None:
        """Leave out of the next claim what was granted, or lost to somebody who was faster."""
        self._taken.update(one.task.id for one in unit.members)

    @property
    def has_more(self) -> bool:
        """Whether something that was read a moment ago is left."""
        return bool(self._left())

    @property
    def waits_for_us(self) -> bool:
        """Whether all that is left waits for keys that this instance holds itself."""
        left = self._left()
        keys = {one.task.resource_key for one in left}
        return bool(left) and all(key is not None and self._memory.is_busy(Key(self._kind, key)) for key in keys)

    def _left(self) -> list[Stored]:
        stored = () if self._window is None else self._window.stored
        return [one for one in stored if one.task.id not in self._taken]

    def close(self) -> None:
        """Remember what was read and not taken, if there was more of it than could be read."""
        if self._window is not None:
            self._memory.keep_window(self._kind, Window(self._left(), self._window.since))

    def _live(self) -> Query:
        query = Query(TASKS).where(("env", "==", self._place.env), ("type", "==", self._kind))
        return query.where(("doneAt", "==", ""))

    def _due(self) -> Query:
        now = rounded_up(self._place.time.now())
        return self._live().where(("leasedUntil", "==", ""), ("waitUntil", "<=", now))

    async def _read(self, raws: Iterable[Raw]) -> list[Stored]:
        stored, faults = self._place.read_all(raws)
        await self._set_aside(faults)
        return stored

    async def _units(self, stored: Iterable[Stored], *, is_fresh: bool, has_first: bool = False) -> list[Unit]:
        """Return what can be had of due tasks: those without a key, and for each key the first of its line.

        Of a page that was read just now and may hold all that is due, nothing is taken on memory; nor is anything
        while Go's workers, who move no lock, claim the same keys. With `has_first`, what is given holds the first
        due tasks of each key in it.
        """
        is_fresh = is_fresh or self._place.shared_with_go
        now = self._place.time.now()
        due = [one for one in stored if is_due(one.task, now) and not one.task.is_generator]
        units = [Unit([one], None) for one in due if one.task.resource_key is None]
        lines = await self._lines(due, is_fresh=is_fresh, has_first=has_first)
        units += [Unit([line.head, *line.followers], line) for line in lines]
        wanted = [unit for unit in units if unit.head.is_suspect is self._suspects]
        return sorted(wanted, key=lambda unit: claim_order(unit.head))

    async def _lines(self, due: Iterable[Stored], *, is_fresh: bool, has_first: bool) -> list[Line]:
        by_key: defaultdict[str, list[Stored]] = defaultdict(list)
        for one in sorted(due, key=lambda one: claim_order(one.task)):
            if one.task.resource_key is not None:
                by_key[one.task.resource_key].append(one)
        lines: list[Line] = []
        unknown: dict[Key, Sequence[Stored]] = {}
        for name, stored in by_key.items():
            key = Key(self._kind, name)
            if name in self._keys or (not is_fresh and self._memory.is_busy(key)):
                continue
            self._keys.add(name)
            line = None if is_fresh else self._remembered_line(key, stored)
            if line is None:
                unknown[key] = stored if has_first else ()
            else:
                lines.append(line)
        return lines + await self._looked_up(unknown)

    def _remembered_line(self, key: Key, stored: Sequence[Stored]) -> Line | None:
        """Return a line without another look, where this instance was the last to hold the key and held it to the end.

        A strict order and suspects depend on tasks that may not have been read.
        """
        lock = self._memory.free_lock(key)
        by_id = {one.task.id: one for one in stored}
        tasks = [one.task for one in stored]
        if lock is None or any(task.strict_order or task.is_suspect for task in tasks):
            return None
        head = rightful_head(tasks)
        if head is None:
            return None
        group = successors(head, tasks, now=self._place.time.now(), limit=self._group - 1)
        return Line(key, lock, by_id[head.id], [by_id[task.id] for task in group])

    async def _looked_up(self, keys: Mapping[Key, Sequence[Stored]]) -> list[Line]:
        lines: list[Line] = []
        for start in range(0, len(keys), LINES_AT_ONCE):
            part = list(keys)[start : start + LINES_AT_ONCE]
            found = await asyncio.gather(
                *(line_of(self._database, self._place, key, group=self._group, first=keys[key]) for key in part)
            )
            lines += [line for line, _ in found if line is not None]
            await self._set_aside([fault for _, faults in found for fault in faults])
        return lines

    async def _set_aside(self, faults: Iterable[Fault]) -> None:
        """Hide documents that cannot be read from every claim of either side; what they held is kept."""
        for fault in faults:
            mark = new_mark()
            aside = {"aside": fault.reason, "waitUntil": fault.raw.fields.get("waitUntil"), "write": mark}
            await self._hide(fault, {EXTRAS: aside | {"before": fault.raw.fields.get(EXTRAS)}}, mark=mark)

    async def set_aside_full(self, unit: Unit, error: UnwritableError) -> None:
        """Hide a document that has no room for a lease; nothing is written into it but a time of the same length.

        Raises:
            UnwritableError: It has room: whatever else Firestore has against the lease is no fault of the document.
        """
        (one,) = unit.members
        if messages.size_of(one.raw.fields) < NEARLY_FULL:
            raise error
        self.took(unit)
        await self._hide(Fault(one.raw, one.task.id, str(error)), {}, mark=new_mark())

    async def _hide(self, fault: Fault, beside: Mapping[str, object], *, mark: str) -> None:
        fields = {"waitUntil": HIDDEN, **beside}
        try:
            times = await self._database.commit([Write(TASKS, fault.raw.name, fields, fault.raw.updated)], mark=mark)
        except UnwritableError:
            if not beside:
                raise
            await self._hide(fault, {}, mark=mark)
        else:
            if times is not None or not beside:  # without a mark nobody can tell whether a refused repeat was ours
                self.unreadable[fault.task_id] = fault.reason

    async def next_due(self) -> datetime | None:
        """Return the earliest later time at which a task or generator of the kind becomes due."""
        now = self._place.time.now()
        query = self._live().where(("leasedUntil", "==", ""), ("waitUntil", ">=", rounded_up(now)))
        query = query.where(("waitUntil", "<", HIDDEN)).order_by("waitUntil").limit(SOON)
        raws = await self._database.find(query)
        stored, _ = self._place.read_all(raws)
        times = [one.task.wait_until for one in stored if one.task.wait_until > now]
        crowded = len(raws) == SOON  # of many within one second the earliest need not be among those that were read
        return min(times, default=now + SECOND if crowded else None)
