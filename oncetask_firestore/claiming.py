"""Claiming: candidates are read outside of any transaction, and taken by commits under the times that were read."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from oncetask_core.claims import Claim, claim_order, leased
from oncetask_core.decisions import KindRules, Released, conclude
from oncetask_core.errors import StoreError
from oncetask_core.store import Claimed
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore.applying import apply, halves
from oncetask_firestore.candidates import Candidates, Unit
from oncetask_firestore.database import LOCKS, Database, Raw, UnwritableError, Write
from oncetask_firestore.fleet import Fleet
from oncetask_firestore.keys import Key, leased_beside, lock_name
from oncetask_firestore.memory import Memory
from oncetask_firestore.place import Place, Stored, new_mark
from oncetask_firestore.renewing import held_by

Task = OnceTask[object]

ROUNDS: Final = 30
"""How often a claim looks again because others were faster with what it had found."""
RULES: Final = KindRules(has_cleanup=True)
"""By which tasks are given back: what was cancelled meanwhile waits for its clean-up, whether there is one or not."""
WAITS: Final = 5
"""How often a claim that finds what is left to others only waits until they have left it alone."""
MANY: Final = 10
"""Where more units than that were to be leased at once, it is seen who else claims before it is tried again."""
COMMIT: Final = 100
"""How many units go into one commit at most."""
CONTESTED: Final = 25
"""How many while others were faster a moment ago: one that is lost refuses all of its commit."""


async def claim(database: Database, place: Place, memory: Memory, *, fleet: Fleet, wanted: Claim) -> Claimed:
    """Lease due tasks.

    Raises:
        StoreError: The leases would end at a time out of range; nothing was leased.
    """
    claiming = _Claiming(database, place, memory, fleet=fleet, wanted=wanted)
    try:
        return await claiming.run()
    except _RepeatedError as repeated:
        tasks = await claiming.kept(repeated.claimed.tasks)
        return Claimed(tasks=tasks, now=repeated.claimed.now)


class _RepeatedError(Exception):
    """The lease holds tasks already: an earlier request of the same claim was faster."""

    def __init__(self, claimed: Claimed) -> None:
        super().__init__()
        self.claimed = claimed


class _Claiming:
    """One claim call, at one time of the store."""

    def __init__(self, database: Database, place: Place, memory: Memory, *, fleet: Fleet, wanted: Claim) -> None:
        self._database = database
        self._place = place
        self._memory = memory
        self._fleet = fleet
        self._claim = wanted
        self._now = place.time.now()
        self._prepared = 0
        self._granted = 0
        self._held: asyncio.Future[list[Stored]] | None = None
        try:
            self._now + wanted.lease_for
        except OverflowError as error:
            raise StoreError(f"the leases would end at a time out of range: {error}; nothing was leased") from error

    async def run(self) -> Claimed:
        """Return what is granted.

        Raises:
            _RepeatedError: The lease holds tasks already.
        """
        is_new = self._memory.is_new_lease(self._claim.lease_uid)
        if self._claim.suspects or not (is_new and self._memory.has_windows(self._claim.slots)):
            self._ask_held()
        try:
            return await self._run()
        finally:
            if self._held is not None:
                self._held.cancel()

    def _ask_held(self) -> None:
        """Begin to ask what the lease holds already, unless that has begun.

        It is not asked where a lease that this instance sees for the first time takes what this instance has read a
        moment ago: a worker repeats its claims at the instance that it sent them to. Were it another's repeat after
        all, the lease would hold the tasks of both, and the next renewal would give back those that nobody runs.
        """
        if self._held is None:
            self._held = asyncio.ensure_future(held_by(self._database, self._place, [self._claim.lease_uid]))
            self._held.add_done_callback(lambda held: held.cancelled() or held.exception())  # others may fail first

    async def _run(self) -> Claimed:
        if not self._place.time.is_known:
            self._ask_held()
            await self._check_first()
        self._place.time.check()
        self._now = self._place.time.now()
        kinds = {kind: self._candidates(kind) for kind in self._claim.slots}
        tasks = await self._suspect(kinds) if self._claim.suspects else await self._ordinary(kinds)
        await self._check_first()
        tasks = await self.kept(tasks)
        unreadable = {task_id: reason for one in kinds.values() for task_id, reason in one.unreadable.items()}
        due = await self._next_due(kinds)
        return Claimed(tasks=tasks, now=self._now, next_due=due, unreadable=unreadable)

    async def kept(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the leased tasks whose handlers may start."""
        given_back = await self._given_back(tasks) if self._place.shared_with_go else ()
        return [task for task in tasks if task.id not in given_back]

    async def _next_due(self, kinds: Mapping[str, Candidates]) -> datetime | None:
        """Return when something becomes due, or when to look after what was left to other instances."""
        has_enough = {kind: one.granted >= self._claim.slots[kind].limit for kind, one in kinds.items()}
        times = await asyncio.gather(*(one.next_due(roughly=has_enough[kind]) for kind, one in kinds.items()))
        later = self._now + timedelta(seconds=self._fleet.patience)
        looks = [later for kind, one in kinds.items() if one.leaves_some and not has_enough[kind]]
        return min([*(time for time in times if time is not None), *looks], default=None)

    async def _given_back(self, tasks: Sequence[Task]) -> frozenset[str]:
        """Release what was just claimed of keys on which a Go worker holds a lease; return the ids.

        Go's claim sees our lease, or we see Go's: whoever commits second looks after the other has written.
        """
        kinds: defaultdict[str, defaultdict[Key, list[Task]]] = defaultdict(lambda: defaultdict(list))
        for task in tasks:
            if task.resource_key is not None:
                kinds[task.kind][Key(task.kind, task.resource_key)].append(task)
        released: list[Task] = []
        for keys in kinds.values():
            ids = {key: [task.id for task in ours] for key, ours in keys.items()}
            for key in await leased_beside(self._database, self._place, ids):
                released += keys[key]
        await self._release(released)
        for task in released:
            self._memory.forget_key(Key(task.kind, str(task.resource_key)))
        return frozenset(task.id for task in released)

    async def _release(self, tasks: Sequence[Task]) -> None:
        """Give tasks back, and those that were changed meanwhile as they are now."""
        left = list(tasks)
        while left:
            releases = [Atom((conclude(task, Released(), RULES, chance=0.0),)) for task in left]
            answers = await apply(self._database, self._place, self._memory, atoms=releases)
            left = [one.task for one in answers if one.verdict is Verdict.CHANGED and one.task is not None]

    def _candidates(self, kind: str) -> Candidates:
        group, suspects = self._claim.slots[kind].group, self._claim.suspects
        return Candidates(
            self._database,
            self._place,
            self._memory,
            fleet=self._fleet,
            kind=kind,
            group=group,
            suspects=suspects,
        )

    async def _check_first(self) -> None:
        """See, before anything is written, whether the lease holds tasks, if that was asked."""
        if self._held is not None:
            self._refuse_repeat(await self._held)

    async def _check_repeated(self) -> None:
        self._refuse_repeat(await held_by(self._database, self._place, [self._claim.lease_uid]))

    def _refuse_repeat(self, held: Sequence[Stored]) -> None:
        if held:
            in_order = sorted(held, key=lambda one: one.document.place)
            raise _RepeatedError(Claimed(tasks=[one.task for one in in_order], now=self._now))

    async def _ordinary(self, kinds: Mapping[str, Candidates]) -> list[Task]:
        taken: list[Task] = []
        for kind, candidates in kinds.items():
            taken += await self._of_kind(candidates, self._claim.slots[kind].limit)
            candidates.close()
        return taken

    async def _of_kind(self, candidates: Candidates, limit: int) -> list[Task]:
        """Take what is remembered, or else what is due; where others were faster, look again."""
        if limit < 1:
            return []
        taken = await self._grant(candidates, (await candidates.remembered(limit))[:limit])
        is_ours = candidates.waits_for_us  # what is given up from now on is claimed next
        if candidates.looks_aside() or (not taken and is_ours):
            taken += await self._beside(candidates, limit - len(taken))
        waits, is_lost = 0, False
        for _ in range(ROUNDS):
            free = limit - len(taken)
            if free == 0 or is_ours or (taken and candidates.has_more and not is_lost):
                break
            if not self._granted:  # else the lease holds what it was granted here
                self._ask_held()
            next_ones = candidates.left if is_lost and candidates.has_more else candidates.first
            units = (await next_ones(free))[:free]
            granted = await self._grant(candidates, units)
            taken += granted
            is_ours, is_lost = candidates.waits_for_us, len(granted) < len(units)
            if not is_lost:
                taken += await self._rest(candidates, free - len(granted)) if candidates.hides_more else []
                if taken or waits == WAITS or not candidates.leaves_some:
                    break
                waits += 1
                await asyncio.sleep(self._fleet.patience)  # whoever's share it is may be gone: then it is ours
            candidates.again()
        return [task for tasks in taken for task in tasks]

    async def _beside(self, candidates: Candidates, free: int) -> list[list[Task]]:
        """Take what is not among that which was read a moment ago."""
        if candidates.window_hides_more:
            return await self._rest(candidates, free)
        return await self._grant(candidates, (await candidates.newcomers(free))[:free]) if free > 0 else []

    async def _rest(self, candidates: Candidates, free: int) -> list[list[Task]]:
        """Take what a full page did not show: tasks without a key, then other keys."""
        taken: list[list[Task]] = []
        if free > 0:
            taken += await self._grant(candidates, (await candidates.keyless(free))[:free])
        if free > len(taken):
            left = free - len(taken)
            taken += await self._grant(candidates, (await candidates.keys(left))[:left])
        return taken

    async def _suspect(self, kinds: Mapping[str, Candidates]) -> list[Task]:
        """Take the first suspect that is to be had, by itself."""
        found = [(unit, candidates) for candidates in kinds.values() for unit in await candidates.suspects()]
        for unit, candidates in sorted(found, key=lambda one: claim_order(one[0].head)):
            for granted in await self._grant(candidates, [unit]):
                return granted
        return []

    async def _grant(self, candidates: Candidates, units: Sequence[Unit]) -> list[list[Task]]:
        granted: list[list[Task]] = []
        left = units
        while left:
            size = CONTESTED if self._fleet.is_contested else COMMIT
            granted += await self._commit(candidates, left[:size])
            left = left[size:]
        return granted

    async def _commit(self, candidates: Candidates, units: Sequence[Unit]) -> list[list[Task]]:
        """Lease units in one commit; where others were faster with one, halve, until it stands alone and is lost."""
        if not units:
            return []
        await self._check_first()
        mark = new_mark()
        grants = [self._grant_of(unit, mark) for unit in units]
        writes = [write for grant in grants for write in grant.writes]
        try:
            times = await self._database.commit(writes, mark=mark)
        except UnwritableError as error:
            return await self._singled_out(candidates, units, error)
        if times is not None:
            self._granted += len(units)
            candidates.granted += len(units)
            self._learn(candidates, grants, iter(times))
            return [grant.tasks for grant in grants]
        if not self._granted:
            await self._check_repeated()  # whoever was faster may have been a request of this very claim
        left = await self._unchanged(units)
        candidates.lost(len(units) - len(left), of=len(units))
        unchanged = {unit.head.id for unit in left}
        for unit in units:
            if unit.head.id not in unchanged:
                candidates.took(unit)
                self._forget(unit)
        if len(units) > MANY:
            await self._fleet.meet(self._database)
            left = [unit for unit in left if self._fleet.is_ours(unit.members[0].raw)]
        if len(left) < len(units):
            return await self._commit(candidates, left)
        if len(units) == 1:
            return []
        first, rest = halves(units)
        return [*await self._commit(candidates, first), *await self._commit(candidates, rest)]

    async def _singled_out(
        self, candidates: Candidates, units: Sequence[Unit], error: UnwritableError
    ) -> list[list[Task]]:
        """Lease each unit by itself, and set aside the one whose document has no room for a lease."""
        if len(units) > 1:
            return [tasks for unit in units for tasks in await self._commit(candidates, [unit])]
        (unit,) = units
        if unit.line is not None and len(unit.members) > 1:
            alone = Unit(unit.members[:1], unit.line._replace(followers=()))
            return await self._commit(candidates, [alone])
        await candidates.set_aside_full(unit, error)
        return []

    async def _unchanged(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units whose documents are still as they were read."""
        names = [one.raw.name for unit in units for one in unit.members]
        locks = [lock_name(self._place, unit.line.key) for unit in units if unit.line is not None]
        tasks_now = await self._database.get(names)
        locks_now = await self._database.get(locks, LOCKS) if locks else {}
        return [unit for unit in units if self._is_unchanged(unit, tasks_now, locks_now)]

    def _is_unchanged(self, unit: Unit, tasks: Mapping[str, Raw], locks: Mapping[str, Raw]) -> bool:
        if any(_updated(tasks, one.raw.name) != one.raw.updated for one in unit.members):
            return False
        if unit.line is None:
            return True
        known = None if unit.line.lock is None else unit.line.lock.updated
        return bool(_updated(locks, lock_name(self._place, unit.line.key)) == known)

    def _grant_of(self, unit: Unit, mark: str) -> "_Grant":
        tasks: list[Task] = []
        writes: list[Write] = []
        for one in unit.members:
            epoch = unit.line.epoch if unit.line is not None else max(one.task.epoch, one.raw.created) + 1
            tasks.append(leased(one.task, self._claim, now=self._now, epoch=epoch))
            self._prepared += 1
            writes.append(one.changed(tasks[-1], mark=mark, place=self._prepared))
        if unit.line is not None:
            uid, ids = self._claim.lease_uid, [task.id for task in tasks]
            writes.append(unit.line.taken(self._place, mark=mark, lease_uid=uid, ids=ids))
        return _Grant(unit, tasks, writes)

    def _learn(self, candidates: Candidates, grants: Iterable["_Grant"], times: Iterator[Any]) -> None:
        """Remember what was written, as far as its times are known."""
        for unit, tasks, writes in grants:
            candidates.took(unit)
            *members, last = [next(times) for _ in writes]
            updated = members if unit.line is not None else [*members, last]
            for one, write, time in zip(unit.members, writes, updated, strict=False):
                if time is not None and write.fields is not None:
                    self._memory.learn(one.written(write.fields, time))
            if unit.line is not None and last is not None:
                lock = Raw(writes[-1].name, writes[-1].fields or {}, 0, last)
                self._memory.take_key(unit.line.key, lock, [task.id for task in tasks])

    def _forget(self, unit: Unit) -> None:
        if unit.line is not None:
            self._memory.forget_key(unit.line.key)


def _updated(documents: Mapping[str, Raw], name: str) -> Any:
    return documents[name].updated if name in documents else None


class _Grant(NamedTuple):
    """What is written for a unit, and the records that it makes."""

    unit: Unit
    tasks: list[Task]
    writes: list[Write]
