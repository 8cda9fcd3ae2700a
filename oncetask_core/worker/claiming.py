"""Claiming: when to ask the store for tasks, and what to do when its reply does not come."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from oncetask_core.claims import Claim
from oncetask_core.handlers import Handler
from oncetask_core.registry import Registry
from oncetask_core.store import Claimed, TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.worker.events import Events
from oncetask_core.worker.launching import Launcher
from oncetask_core.worker.leases import Grant, LeaseBook
from oncetask_core.worker.quiet import ALONE_SECONDS, Quiet
from oncetask_core.worker.settings import Seams
from oncetask_core.worker.slots import Demand
from oncetask_core.worker.store_time import StoreTime


class OpenClaim(msgspec.Struct, frozen=True):
    """A claim that was sent and not answered yet."""

    claim: Claim
    demand: Demand
    sent_at: float
    repeated: bool = False


class Claimer:
    """Asks for as much as the slots allow and hands it to the launcher.

    Attributes:
        hungry: Whether to ask for every kind: somebody woke us, or it is time to look.
        thorough: Whether to ask even for single slots of kinds that have more to do than slots.
        next_due: The earliest time at which something becomes due, as far as the store told.
        crowded: Kinds of which a suspect waits for a slot: the next one that is free is not given to another task.
    """

    def __init__(
        self,
        store: TaskStore,
        registry: Registry,
        *,
        name: str,
        launcher: Launcher,
        book: LeaseBook,
        events: Events,
        seams: Seams,
        time: StoreTime,
    ) -> None:
        self._store = store
        self._registry = registry
        self._name = name
        self._launcher = launcher
        self._book = book
        self._events = events
        self._seams = seams
        self._time = time
        self._open: OpenClaim | None = None
        self._full: set[str] = set()  # kinds of which the last claim may have left something
        self._freed: set[str] = set()  # kinds of which a key was freed since
        self.quiet = Quiet()
        self.hungry = True
        self.thorough = True
        self.next_due: datetime | None = None
        self.crowded: frozenset[str] = frozenset()

    async def claim(self, handlers: Sequence[Handler]) -> bool:
        """Claim what may be claimed now; return whether anything was granted."""
        found = await self._repeat()
        now = self._seams.clock.monotonic()
        if self.quiet.wants_suspect(now, running=self._launcher.slots.used):
            found |= await self._claim_suspect(handlers)
        if (self.hungry or self._full or self._freed) and self.quiet.allows_others(now):
            found |= await self._claim_others(handlers)
        return found

    def note_settled(self, task: OnceTask[object]) -> None:
        """Note that the store knows how a task ended: its key may be free for the next one."""
        self.quiet.end(task.id)
        if task.resource_key is not None:
            self._freed.add(task.kind)

    async def take_back(self) -> Sequence[OnceTask[object]]:
        """Return what a claim without a reply was granted, without starting it."""
        if self._open is None:
            return ()
        return (await self._store.claim(self._open.claim)).tasks

    async def _repeat(self) -> bool:
        return False if self._open is None else await self._send(self._open)

    async def _claim_suspect(self, handlers: Sequence[Handler]) -> bool:
        for demand in self._launcher.slots.demands(handlers):
            if await self._send(self._opened(demand, suspects=True)):
                return True
        self.quiet.notice(self._seams.clock.monotonic(), waiting=False)
        return False

    async def _claim_others(self, handlers: Sequence[Handler]) -> bool:
        asking = (frozenset(one.kind for one in handlers) if self.hungry else self._full | self._freed) - self.crowded
        wanted = [one for one in handlers if one.kind in asking]
        demands = self._launcher.slots.demands(wanted, patient=() if self.thorough else self._full)
        asked = {kind for demand in demands for kind in demand.slots}
        self._full -= asked
        self._freed -= asked
        self.hungry = found = False
        if demands:
            self.thorough = False
        for demand in demands:
            found |= await self._send(self._opened(demand, suspects=False))
        return found

    def _opened(self, demand: Demand, *, suspects: bool) -> OpenClaim:
        claim = Claim(
            lease_uid=self._seams.new_uid(),
            leased_by=self._name,
            lease_for=demand.lease_for,
            slots=demand.slots,
            suspects=suspects,
        )
        return OpenClaim(claim, demand, self._seams.clock.monotonic())

    async def _send(self, opened: OpenClaim) -> bool:
        """Send a claim and start what it was granted; return whether that is anything.

        A claim without a reply is repeated under the same lease before anything else is claimed, and its lease is
        watched for a while after that: the lost request may still be on its way.
        """
        self._open = msgspec.structs.replace(opened, repeated=True)
        claimed = await self._store.claim(opened.claim)
        self._open = None
        self._time.set(claimed.now)
        if opened.repeated:
            lease = opened.demand.lease_for.total_seconds()
            self._book.doubt(opened.claim.lease_uid, self._seams.clock.monotonic() + lease)
        self._note(claimed, opened)
        self._start(opened, claimed)
        return bool(claimed.tasks)

    def _note(self, claimed: Claimed, opened: OpenClaim) -> None:
        for task_id, reason in claimed.unreadable.items():
            self._events.emit_unreadable(task_id, reason)
        if claimed.next_due is not None:
            known = self.next_due
            self.next_due = claimed.next_due if known is None else min(known, claimed.next_due)
        calls: dict[str, set[str]] = defaultdict(set)
        for task in claimed.tasks:
            calls[task.kind].add(f"key {task.resource_key}" if task.resource_key is not None else f"id {task.id}")
        self._full |= {kind for kind, slots in opened.demand.slots.items() if len(calls[kind]) >= slots.limit}

    def _start(self, opened: OpenClaim, claimed: Claimed) -> None:
        """Start what this worker can run; what it no longer serves is left to run out."""
        found = {kind: self._registry.get(kind) for kind in {task.kind for task in claimed.tasks}}
        handlers = {kind: handler for kind, handler in found.items() if handler is not None}
        served = [task for task in claimed.tasks if task.kind in handlers]  # any thread may unregister one meanwhile
        if not served:
            return
        if opened.claim.suspects:
            self.quiet.begin(
                served[0].id,
                until=opened.sent_at + min(opened.demand.lease_for.total_seconds(), ALONE_SECONDS),
            )
        grant = Grant(opened.demand.lease_for, renew=opened.demand.renew, granted_at=opened.sent_at)
        self._launcher.launch(opened.claim.lease_uid, grant, tasks=served, handlers=handlers)
