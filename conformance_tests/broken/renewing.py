"""Broken renewals: leases that are extended wrongly, or come back."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.clock import START
from oncetask_core.store import HeldLease, Renewed


class RenewalShortens(PlainStore):
    """A renewal sets the end of the lease, even to an earlier time."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        if duration is not None:
            self.put(msgspec.structs.replace(task, leased_until=now + duration))
            return super().renewed(task, None, now)
        return super().renewed(task, duration, now)


class RenewalAddsUp(PlainStore):
    """A renewal counts from the end of the lease."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        return super().renewed(task, duration, task.leased_until or now)


class RenewalIsADecision(PlainStore):
    """A renewal counts a revision."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        task = self.put(msgspec.structs.replace(task, revision=task.revision + 1)) if duration else task
        return super().renewed(task, duration, now)


class AskingExtends(PlainStore):
    """Whoever only asks extends the lease as well."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        return super().renewed(task, duration or timedelta(hours=3), now)


class CancelIsNotTold(PlainStore):
    """A renewal does not say that the task is to stop."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        return msgspec.structs.replace(super().renewed(task, duration, now), cancel_requested=False)


class CancelledLeasesRunOut(PlainStore):
    """The lease of a cancelled task is not extended."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        return super().renewed(task, None if task.is_cancelled else duration, now)


class RunNotTold(PlainStore):
    """A renewal names the task and not its run."""

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        return msgspec.structs.replace(super().renewed(task, duration, now), run_uid="")


class OneRenewalForAll(PlainStore):
    """All leases of a call are extended by the longest duration."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        longest = max((duration for duration in leases.values() if duration is not None), default=None)
        return await super().renew(dict.fromkeys(leases, longest))


class RenewsOneTask(PlainStore):
    """Of the tasks of a lease one is extended."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        firsts = {task.lease_uid: task for task in reversed(self.all())}
        now = self.clock.now()
        held = [self.renewed(firsts[uid], leases[uid], now) for uid in leases if uid in firsts]
        return Renewed(held=held, now=now)


class RunOutLeasesAreLost(PlainStore):
    """A lease that ran out cannot be renewed, though nobody has expired it."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        now = self.clock.now()
        late = {task.lease_uid for task in self.all() if task.leased_until is not None and task.leased_until <= now}
        return await super().renew({uid: duration for uid, duration in leases.items() if uid not in late})


class RenewalRevives(PlainStore):
    """A renewal brings back a lease that was expired or settled."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        for (uid, task_id), _ in list(self.storage.tokens.items()):
            task = self.one(task_id)
            if uid in leases and task is not None and task.lease_uid is None and task.claims > 0:
                self.put(msgspec.structs.replace(task, lease_uid=uid, leased_until=self.clock.now()))
        return await super().renew(leases)

    def put(self, task: Task) -> Task:
        if task.lease_uid is not None:
            self.storage.tokens[task.lease_uid, task.id] = 1
        return super().put(task)


class RenewsTheTasksItKnew(PlainStore):
    """A renewal extends whatever the lease was granted, whoever holds it now."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        for uid, task_id in list(self.storage.tokens):
            task = self.one(task_id)
            if uid in leases and task is not None and task.lease_uid is not None:
                self.renewed(task, leases[uid], self.clock.now())
        return await super().renew(leases)

    def put(self, task: Task) -> Task:
        if task.lease_uid is not None:
            self.storage.tokens[task.lease_uid, task.id] = 1
        return super().put(task)


class LooseLeases(PlainStore):
    """Leases are compared without regard to case and final spaces."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        loose = {uid.strip().casefold(): duration for uid, duration in leases.items()}
        known = {task.lease_uid: task.lease_uid.strip().casefold() for task in self.all() if task.lease_uid}
        return await super().renew({uid: loose[form] for uid, form in known.items() if form in loose})


class RenewalTellsNoTime(PlainStore):
    """The time in a renewal's reply is that of the store's making."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        return msgspec.structs.replace(await super().renew(leases), now=START)


class RenewsWhatItGranted(PlainStore):
    """An instance renews only what it has granted itself."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        own: set[str | None] = self.__dict__.setdefault("_own", set())
        return await super().renew({uid: duration for uid, duration in leases.items() if uid in own})

    def put(self, task: Task) -> Task:
        self.__dict__.setdefault("_own", set()).add(task.lease_uid)
        return super().put(task)
