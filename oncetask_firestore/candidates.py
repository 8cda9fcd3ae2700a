"""What a claim may take of one kind, and when the next of it becomes due.

The earliest due tasks come first, a page of them. Only where that page is full and yet not enough of it can be had,
because its keys are busy, the rest is looked for along two lanes: tasks without a key, and keys one behind the other,
each by its first task. So any number of tasks of one busy key delays nobody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from oncetask_core.claims import claim_order, is_due
from oncetask_core.task import OnceTask
from oncetask_firestore import messages
from oncetask_firestore.database import TASKS, Database, Raw, UnwritableError, Write
from oncetask_firestore.extras import EXTRAS, SUSPECT
from oncetask_firestore.fleet import Fleet
from oncetask_firestore.keys import Key, Line, line_up, lines_of
from oncetask_firestore.memory import Memory, Window
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Fault, Place, Stored, new_mark
from oncetask_firestore.texts import HIDDEN, rounded_down, rounded_up

Task = OnceTask[object]

SECOND: Final = timedelta(seconds=1)
PAGE: Final = 100
"""How many due tasks are read at once at least."""
MUCH: Final = 25
"""From how many on due tasks that were read are remembered."""
NEXT: Final = 2
"""How many more tasks than we can take now are left to each of the others."""
SPARE: Final = 1.25
"""How many more due tasks are read than can be claimed: shares are not all of one size, nor is every key free."""
SOON: Final = 10
"""How many of the next tasks are looked at for their exact time."""
NEARLY_FULL: Final = 300_000
"""Bytes on the wire from which on a document may have the 1 MiB that Firestore counts, eight for each int."""
SUSPECTS: Final = 300
"""How many suspects are looked at; they are few, and no index keeps them in order."""
LONGEST_JUMP: Final = 16
"""How many tasks are read at most to find the next keys."""
JUMPS: Final = 40
"""How often a claim looks for the next keys while it has nothing; the next claim goes on behind them."""
MOST_LOST: Final = 4
"""One in so many units may be lost to others before the rest of what was read is not relied upon either."""
ASIDE: Final = 4
"""How often it looks for them when it has something, or when what was read waits for this instance itself."""


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
        self.hides_more = False
        """Whether what was read last may hide what could be claimed: much of it waits for keys."""
        self.leaves_some = False
        """Whether what was read last is in part left to other instances."""
        self.is_fresh = False
        """Whether the first due tasks were read in this claim."""
        self.granted = 0

    def again(self) -> None:
        """Begin anew: keys that were looked at may be looked at again."""
        self._keys.clear()

    async def remembered(self, free: int) -> list[Unit]:
        """Return what was read a moment ago and not claimed, in claim order."""
        self._window = self._memory.window(self._kind)
        return [] if self._window is None else await self._units(self._window.stored, most=free)

    async def left(self, free: int) -> list[Unit]:
        """Return what was read just now and not tried yet, in claim order."""
        return await self._units(self._left(), most=free)

    async def first(self, free: int) -> list[Unit]:
        """Return the earliest due tasks in claim order."""
        size = self._memory.page_size(self._kind, least=max(PAGE, int(SPARE * free * self._fleet.size)))
        read_at, began = self._place.time.now(), self._place.time.monotonic()
        raws = await self._database.find(self._due().order_by("waitUntil").limit(size))
        self._fleet.note_pace(self._place.time.monotonic() - began)
        self._memory.learn_page(self._kind, raws)
        is_full = len(raws) == size
        if is_full:
            await self._fleet.look(self._database)
        shares = self._fleet.split_page(self._kind, raws, next_ones=NEXT * free)
        with_late = not is_full or not shares.ours
        mine = [*shares.ours, *shares.late] if with_late else shares.ours
        stored = await self._read(mine or shares.spare)
        self.leaves_some = shares.leaves_some or (bool(shares.late) and not with_late)
        is_much = is_full or len(stored) > MUCH
        self._window = self._memory.new_window(stored, read_at=read_at, hides_more=is_full) if is_much else None
        self.is_fresh = True
        units = await self._units(stored, most=free if is_much else None)
        self.hides_more = is_full and any(not _is_plain(one.task) for one in stored)
        return units

    async def newcomers(self, free: int) -> list[Unit]:
        """Return what became due since all that was due was read."""
        if self._window is None:
            return []
        since = rounded_down(self._window.read_at)
        query = self._due().where(("waitUntil", ">=", since)).order_by("waitUntil").limit(max(PAGE, free))
        known = {one.raw.name for one in self._window.stored}
        raws = [raw for raw in await self._database.find(query) if raw.name not in known]
        return await self._units(await self._read(self._share(raws)), most=free)

    async def keyless(self, free: int) -> list[Unit]:
        """Return the earliest due tasks without a key."""
        query = self._due().where(("resourceKey", "==", "")).order_by("waitUntil").limit(free * self._fleet.size)
        return await self._units(await self._read(self._share(await self._database.find(query))))

    async def keys(self, free: int) -> list[Unit]:
        """Return what can be had of the next keys, whichever those are."""
        if not self._memory.may_walk(self._kind):
            return []
        cursors, start = self._memory.cursors, self._memory.cursors.get(self._kind, "")
        units: list[Unit] = []
        behind, wrapped, jump = start, False, 1
        is_round, jumps = False, ASIDE if self.granted or self.waits_for_us else JUMPS
        for _ in range(jumps):
            query = self._due().where(("resourceKey", ">", behind))
            raws = await self._database.find(query.order_by("resourceKey", "waitUntil").limit(jump))
            units += await self._units(await self._read(self._share(raws)), most=free, has_first=self._group == 1)
            keys = {raw.fields["resourceKey"] for raw in raws}
            behind = raws[-1].fields["resourceKey"] if raws else behind
            is_round = wrapped and (not raws or behind >= start)
            if len(units) >= free or is_round:
                break
            if len(raws) < jump:
                behind, wrapped = "", True
            jump = min(2 * jump, LONGEST_JUMP) if len(keys) == jump else max(len(keys), 1)
        cursors[self._kind] = behind
        found = bool(units) or self.leaves_some
        self._memory.walked(self._kind, found=found, whole=is_round or jumps == JUMPS)
        return units

    async def suspects(self) -> list[Unit]:
        """Return the suspects that are due."""
        query = self._live().where((SUSPECT, "==", True)).limit(SUSPECTS)
        return await self._units(await self._read(await self._database.find(query)), has_first=False)

    def lost(self, units: int, *, of: int) -> None:
        """Trust little of what was read a moment ago: others were faster with some units."""
        if units * MOST_LOST > of and not self.is_fresh:
            self._window = None
        self._fleet.conflicted()

    def took(self, unit: Unit) -> None:
        """Leave out of the next claim what was granted, or lost to somebody who was faster."""
        self._taken.update(one.task.id for one in unit.members)

    @property
    def window_hides_more(self) -> bool:
        """Whether there was more than could be read when that was read which is remembered."""
        return self._window is not None and self._window.hides_more

    def looks_aside(self) -> bool:
        """Return whether to look now for what came since, though what was read a moment ago is not used up."""
        return self.has_more and self._memory.looks_aside(self._kind)

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
            self._memory.keep_window(self._kind, msgspec.structs.replace(self._window, stored=self._left()))

    def _live(self) -> Query:
        query = Query(TASKS).where(("env", "==", self._place.env), ("type", "==", self._kind))
        return query.where(("doneAt", "==", ""))

    def _due(self) -> Query:
        now = rounded_up(self._place.time.now())
        return self._live().where(("leasedUntil", "==", ""), ("waitUntil", "<=", now))

    def _share(self, raws: Sequence[Raw]) -> Sequence[Raw]:
        shares = self._fleet.split(raws)
        self.leaves_some |= shares.leaves_some
        return [*shares.ours, *shares.late]

    async def _read(self, raws: Iterable[Raw]) -> list[Stored]:
        stored, faults = self._place.read_all(raws)
        await self._set_aside(faults)
        return stored

    async def _units(self, stored: Iterable[Stored], *, most: int | None = None, has_first: bool = True) -> list[Unit]:
        """Return what can be had of due tasks: those without a key, and for each key the first of its line.

        Args:
            stored: The tasks.
            most: How many units are enough, where there are many: then keys of ours are taken on memory, too. Else
                everything is looked at, so that it is the first that are taken.
            has_first: Whether these are the first due tasks of each key among them.
        """
        now = self._place.time.now()
        due = [one for one in stored if is_due(one.task, now) and not one.task.is_generator]
        units = [Unit([one], None) for one in due if one.task.resource_key is None]
        lines = await self._lines(due, most=most, has_first=has_first)
        units += [Unit([line.head, *line.followers], line) for line in lines]
        wanted = [unit for unit in units if unit.head.is_suspect is self._suspects]
        return sorted(wanted, key=lambda unit: claim_order(unit.head))

    async def _lines(self, due: Iterable[Stored], *, most: int | None, has_first: bool) -> list[Line]:
        by_key: defaultdict[str, list[Stored]] = defaultdict(list)
        for one in sorted(due, key=lambda one: claim_order(one.task)):
            if one.task.resource_key is not None:
                by_key[one.task.resource_key].append(one)
        lines: list[Line] = []
        unknown: dict[Key, Sequence[Stored]] = {}
        for name, stored in by_key.items():
            key = Key(self._kind, name)
            if name in self._keys or (most is not None and self._memory.is_busy(key)):
                continue
            line = None if most is None else self._remembered_line(key, stored)
            if line is None:
                unknown[key] = stored if has_first else ()
            else:
                self._keys.add(name)
                lines.append(line)
        return lines + await self._looked_up(unknown, len(unknown) if most is None else most - len(lines))

    def _remembered_line(self, key: Key, stored: Sequence[Stored]) -> Line | None:
        """Return a line without another look, where this instance was the last to hold the key and held it to the end.

        A strict order and suspects depend on tasks that may not have been read. A lease of Go's workers, who move no
        lock, is seen when the tasks have been claimed.
        """
        lock = self._memory.free_lock(key)
        if lock is None or any(one.task.strict_order or one.task.is_suspect for one in stored):
            return None
        return line_up(key, lock, stored, now=self._place.time.now(), group=self._group)

    async def _looked_up(self, keys: Mapping[Key, Sequence[Stored]], most: int) -> list[Line]:
        """Look keys up, the first ones first, until so many can be had."""
        lines: list[Line] = []
        names = list(keys)
        while names and len(lines) < most:
            part, names = names[: most - len(lines)], names[most - len(lines) :]
            self._keys.update(key.resource_key for key in part)
            found, faults = await lines_of(
                self._database, self._place, {key: keys[key] for key in part}, group=self._group
            )
            lines += found
            await self._set_aside(faults)
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

    async def next_due(self, *, roughly: bool) -> datetime | None:
        """Return the earliest later time at which a task or generator of the kind becomes due.

        Args:
            roughly: Whether what was read a moment ago will do anyway; it does while there is more to claim.
        """
        now = self._place.time.now()
        known, seconds = self._memory.next_due(self._kind)
        if seconds > 0 and (roughly or self.has_more or self.leaves_some):
            again = None if roughly else now + timedelta(seconds=seconds)
            return known if known is not None and known > now else again
        query = self._live().where(("leasedUntil", "==", ""), ("waitUntil", ">=", rounded_up(now)))
        query = query.where(("waitUntil", "<", HIDDEN)).order_by("waitUntil").limit(SOON)
        raws = await self._database.find(query)
        stored, _ = self._place.read_all(raws)
        times = [one.task.wait_until for one in stored if one.task.wait_until > now]
        crowded = len(raws) == SOON  # of many within one second the earliest need not be among those that were read
        found = min(times, default=now + SECOND if crowded else None)
        self._memory.learn_next_due(self._kind, found)
        return found


def _is_plain(task: Task) -> bool:
    """Return whether a due task can be claimed without looking at others."""
    return task.resource_key is None and not task.is_suspect and not task.is_generator
