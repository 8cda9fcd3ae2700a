"""Claiming: candidates are read outside of any transaction, and taken by commits under the times that were read."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from oncetask_firestore.keys import Key, is_leased_beside, lock_name
from oncetask_firestore.memory import Memory
from oncetask_firestore.place import Place, new_mark
from oncetask_firestore.renewing import held_by

Task = OnceTask[object]

ROUNDS: Final = 30
"""How often a claim looks again because others were faster with what it had found."""
RULES: Final = KindRules(has_cleanup=True)
"""By which tasks are given back: what was cancelled meanwhile waits for its clean-up, whether there is one or not."""
COMMIT: Final = 100
"""How many units go into one commit at most."""


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
        try:
            self._now + wanted.lease_for
        except OverflowError as error:
            raise StoreError(f"the leases would end at a time out of range: {error}; nothing was leased") from error

    async def run(self) -> Claimed:
        """Return what is granted.

        Raises:
            _RepeatedError: The lease holds tasks already.
        """
        await self._check_repeated()
        self._place.time.check()
        self._now = self._place.time.now()
        kinds = {kind: self._candidates(kind) for kind in self._claim.slots}
        tasks = await self._suspect(kinds) if self._claim.suspects else await self._ordinary(kinds)
        tasks = await self.kept(tasks)
        unreadable = {task_id: reason for one in kinds.values() for task_id, reason in one.unreadable.items()}
        times = [await candidates.next_due() for candidates in kinds.values()]
        due = min((time for time in times if time is not None), default=None)
        return Claimed(tasks=tasks, now=self._now, next_due=due, unreadable=unreadable)

    async def kept(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the leased tasks whose handlers may start."""
        given_back = await self._given_back(tasks) if self._place.shared_with_go else ()
        return [task for task in tasks if task.id not in given_back]

    async def _given_back(self, tasks: Sequence[Task]) -> frozenset[str]:
        """Release what was just claimed of keys on which a Go worker holds a lease; return the ids.

        Go's claim sees our lease, or we see Go's: whoever commits second looks after the other has written.
        """
        keys: defaultdict[Key, list[Task]] = defaultdict(list)
        for task in tasks:
            if task.resource_key is not None:
                keys[Key(task.kind, task.resource_key)].append(task)
        released: list[Task] = []
        for key, ours in keys.items():
            if await is_leased_beside(self._database, self._place, key, ids=[task.id for task in ours]):
                released += ours
        await self._release(released)
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

    async def _check_repeated(self) -> None:
        held = await held_by(self._database, self._place, [self._claim.lease_uid])
        if held:
            held.sort(key=lambda one: one.document.place)
            raise _RepeatedError(Claimed(tasks=[one.task for one in held], now=self._now))

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
        taken = await self._grant(candidates, (await candidates.remembered())[:limit])
        if candidates.waits_for_us:
            taken += await self._rest(candidates, limit - len(taken))
        for _ in range(ROUNDS):
            free = limit - len(taken)
            if free == 0 or candidates.waits_for_us or (taken and candidates.has_more):
                break
            units, is_full = await candidates.first(free)
            granted = await self._grant(candidates, units[:free])
            taken += granted
            if len(granted) == min(len(units), free):
                taken += await self._rest(candidates, free - len(granted)) if is_full else []
                break
            candidates.again()
        return [task for tasks in taken for task in tasks]

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
        for start in range(0, len(units), COMMIT):
            granted += await self._commit(candidates, units[start : start + COMMIT])
        return granted

    async def _commit(self, candidates: Candidates, units: Sequence[Unit]) -> list[list[Task]]:
        """Lease units in one commit; where others were faster with one, halve, until it stands alone and is lost."""
        if not units:
            return []
        mark = new_mark()
        grants = [self._grant_of(unit, mark) for unit in units]
        writes = [write for grant in grants for write in grant.writes]
        try:
            times = await self._database.commit(writes, mark=mark)
        except UnwritableError as error:
            return await self._singled_out(candidates, units, error)
        if times is not None:
            self._granted += len(units)
            self._learn(candidates, grants, iter(times))
            return [grant.tasks for grant in grants]
        if not self._granted:
            await self._check_repeated()  # whoever was faster may have been a request of this very claim
        candidates.lost()
        left = await self._unchanged(units)
        for unit in units:
            if unit not in left:
                candidates.took(unit)
                self._forget(unit)
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
