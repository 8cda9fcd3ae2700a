"""Claiming: candidates are read outside of any transaction, and taken by commits under the times that were read."""

from collections.abc import Iterable, Sequence
from typing import Final

from oncetask_core.claims import Claim, claim_order, leased
from oncetask_core.errors import StoreError
from oncetask_core.store import Claimed
from oncetask_core.task import OnceTask
from oncetask_firestore.applying import halves
from oncetask_firestore.candidates import Candidates, Page, Unit
from oncetask_firestore.database import Database, Raw, Write
from oncetask_firestore.place import Place, new_mark
from oncetask_firestore.renewing import held_by

Task = OnceTask[object]

PAGE: Final = 100
"""How many due tasks are read at once at least."""
ROUNDS: Final = 30
"""How often a claim looks again because others were faster with what it had found."""
COMMIT: Final = 100
"""How many units go into one commit at most."""


async def claim(database: Database, place: Place, wanted: Claim) -> Claimed:
    """Lease due tasks.

    Raises:
        StoreError: The leases would end at a time out of range; nothing was leased.
    """
    claiming = _Claiming(database, place, wanted)
    try:
        return await claiming.run()
    except _RepeatedError as repeated:
        return repeated.claimed


class _RepeatedError(Exception):
    """The lease holds tasks already: an earlier request of the same claim was faster."""

    def __init__(self, claimed: Claimed) -> None:
        super().__init__()
        self.claimed = claimed


class _Claiming:
    """One claim call, at one time of the store."""

    def __init__(self, database: Database, place: Place, wanted: Claim) -> None:
        self._database = database
        self._place = place
        self._claim = wanted
        self._now = now = place.time.now()
        self._prepared = 0
        self._granted = 0
        self._unreadable: dict[str, str] = {}
        try:
            now + wanted.lease_for
        except OverflowError as error:
            raise StoreError(f"the leases would end at a time out of range: {error}; nothing was leased") from error

    async def run(self) -> Claimed:
        """Return what is granted.

        Raises:
            _RepeatedError: The lease holds tasks already.
        """
        await self._check_repeated()
        kinds = {
            kind: Candidates(self._database, self._place, kind, group=slots.group, suspects=self._claim.suspects)
            for kind, slots in self._claim.slots.items()
        }
        tasks = await self._suspect(kinds.values()) if self._claim.suspects else await self._ordinary(kinds)
        for candidates in kinds.values():
            self._unreadable |= candidates.unreadable
        times = [await candidates.next_due() for candidates in kinds.values()]
        due = min((time for time in times if time is not None), default=None)
        return Claimed(tasks=tasks, now=self._now, next_due=due, unreadable=self._unreadable)

    async def _check_repeated(self) -> None:
        held = await held_by(self._database, self._place, [self._claim.lease_uid])
        if held:
            held.sort(key=lambda one: one.document.place)
            raise _RepeatedError(Claimed(tasks=[one.task for one in held], now=self._now))

    async def _ordinary(self, kinds: dict[str, Candidates]) -> list[Task]:
        taken: list[Task] = []
        for kind, slots in self._claim.slots.items():
            taken += await self._of_kind(kinds[kind], slots.limit)
        return taken

    async def _of_kind(self, candidates: Candidates, limit: int) -> list[Task]:
        """Take page by page; where others were faster, begin again at the first."""
        taken: list[Task] = []
        free, after, rounds = limit, None, 0
        while free > 0:
            page = await candidates.page(max(PAGE, 2 * free), after)
            wanted = page.units[:free]
            granted = await self._grant(wanted)
            free -= len(granted)
            taken += [task for unit in granted for task in unit]
            lost = len(granted) < len(wanted)
            after, rounds = self._next(candidates, page, lost=lost), rounds + lost
            if after is None and (not lost or rounds == ROUNDS):
                break
        return taken

    @staticmethod
    def _next(candidates: Candidates, page: Page, *, lost: bool) -> Raw | None:
        if lost:
            candidates.again()
            return None
        return page.last

    async def _suspect(self, kinds: Iterable[Candidates]) -> list[Task]:
        """Take the first suspect that is to be had, by itself."""
        pages = [await candidates.page(PAGE, None) for candidates in kinds]
        for unit in sorted((unit for page in pages for unit in page.units), key=lambda unit: claim_order(unit.head)):
            granted = await self._grant([unit])
            if granted:
                return granted[0]
        return []

    async def _grant(self, units: Sequence[Unit]) -> list[list[Task]]:
        granted: list[list[Task]] = []
        for start in range(0, len(units), COMMIT):
            granted += await self._commit(units[start : start + COMMIT])
        return granted

    async def _commit(self, units: Sequence[Unit]) -> list[list[Task]]:
        """Lease units in one commit; where others were faster with one, halve, until it stands alone and is lost."""
        if not units:
            return []
        mark = new_mark()
        writes, records = self._written(units, mark)
        if await self._database.commit(writes, mark=mark):
            self._granted += len(records)
            return records
        if not self._granted:
            await self._check_repeated()  # whoever was faster may have been a request of this very claim
        if len(units) == 1:
            return []
        first, rest = halves(units)
        return [*await self._commit(first), *await self._commit(rest)]

    def _written(self, units: Iterable[Unit], mark: str) -> tuple[list[Write], list[list[Task]]]:
        writes: list[Write] = []
        records: list[list[Task]] = []
        for unit in units:
            granted: list[Task] = []
            for one in unit.members:
                epoch = unit.line.epoch if unit.line is not None else max(one.task.epoch, one.raw.created) + 1
                task = leased(one.task, self._claim, now=self._now, epoch=epoch)
                self._prepared += 1
                granted.append(task)
                writes.append(one.changed(task, mark=mark, place=self._prepared))
            if unit.line is not None:
                uid, ids = self._claim.lease_uid, [task.id for task in granted]
                writes.append(unit.line.taken(self._place, mark=mark, lease_uid=uid, ids=ids))
            records.append(granted)
        return writes, records
