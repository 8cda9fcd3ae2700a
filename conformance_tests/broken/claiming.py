"""Broken claims: what is taken that should not be, and what a lease says."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.claims import Claim, Slots, chosen, claim_order, is_claimable
from oncetask_core.clock import START
from oncetask_core.store import Claimed
from oncetask_core.transition import Guard, Verdict


def pretending(tasks: Sequence[Task], **fields: object) -> list[Task]:
    """Return the tasks as they would be with other values in some fields."""
    return [msgspec.structs.replace(task, **fields) for task in tasks]


class ClaimsEarly(PlainStore):
    """Tasks are claimed before their time."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return chosen(claim, self.all(), datetime.max.replace(tzinfo=now.tzinfo))


class ClaimsAMomentLate(PlainStore):
    """A task is due after its time, and not at it."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return chosen(claim, self.all(), now - timedelta(microseconds=1))


class ClaimsByPriorityEarly(PlainStore):
    """An urgent task is due before its time."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        early = [msgspec.structs.replace(task, wait_until=min(task.order_at, task.wait_until)) for task in self.all()]
        ids = [task.id for task in chosen(claim, early, now)]
        return [self.storage.tasks[self.env, task_id] for task_id in ids]


class _ClaimsAsIf(PlainStore):
    """Chooses among the tasks as they would be with other values in some fields."""

    pretended: ClassVar[Mapping[str, object]] = {}

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        tasks = chosen(claim, pretending(self.all(), **self.pretended), now)
        return [self.storage.tasks[self.env, task.id] for task in tasks]


class ClaimsFinishedTasks(_ClaimsAsIf):
    """Finished tasks are claimed."""

    pretended: ClassVar[Mapping[str, object]] = {"outcome": None}


class ClaimsHeldTasks(_ClaimsAsIf):
    """Tasks that are leased are claimed by others."""

    pretended: ClassVar[Mapping[str, object]] = {"lease_uid": None}


class ClaimsGenerators(_ClaimsAsIf):
    """Generators are claimed like tasks."""

    pretended: ClassVar[Mapping[str, object]] = {"recurrence": None}


class ClaimsSuspects(_ClaimsAsIf):
    """A task that crashed a worker is claimed among others."""

    pretended: ClassVar[Mapping[str, object]] = {"crashes": 0}


class ClaimsInOrderOfCreation(_ClaimsAsIf):
    """The first created is claimed first, whatever the times are."""

    pretended: ClassVar[Mapping[str, object]] = {"order_at": START}


class ClaimsAnyOfAKey(PlainStore):
    """A claim does not ask who has the seat."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        seated = [msgspec.structs.replace(task, head_key=task.resource_key) for task in self.all()]
        return chosen(claim, seated, now)


class StealsRunOutLeases(PlainStore):
    """A lease that ran out is taken over without being expired."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        for task in self.all():
            if task.leased_until is not None and task.leased_until <= now:
                self.put(msgspec.structs.replace(task, lease_uid=None))
        return super().chosen(claim, now)


class ClaimsEveryKind(PlainStore):
    """Kinds that were not named are claimed as well."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        slots = next(iter(claim.slots.values()), Slots(0))
        every = dict.fromkeys((task.kind for task in self.all()), slots)
        return super().chosen(msgspec.structs.replace(claim, slots=every), now)


class OneLimitForAllKinds(PlainStore):
    """The slots of all kinds are one pool."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        limit = max((slots.limit for slots in claim.slots.values()), default=0)
        return super().chosen(claim, now)[:limit]


class NoLimits(PlainStore):
    """A claim takes all there is."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        every = {kind: msgspec.structs.replace(slots, limit=1000) for kind, slots in claim.slots.items()}
        return super().chosen(msgspec.structs.replace(claim, slots=every), now)


class ClaimsById(PlainStore):
    """Among equal times the id decides."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return sorted(super().chosen(claim, now), key=lambda task: (task.order_at, task.id))


class ClaimsLatestFirst(PlainStore):
    """The latest due is claimed first."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return list(reversed(super().chosen(claim, now)))


class OnlyTheFirstAttempt(PlainStore):
    """A task that was claimed once is not claimed again."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return [task for task in super().chosen(claim, now) if task.claims == 0]


class LooksAtAWindow(PlainStore):
    """A claim looks at the first hundred due tasks, whoever may be claimed among them."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        window = sorted((task for task in self.all() if task.wait_until <= now), key=claim_order)[:100]
        return chosen(claim, window, now)


class SuspectsAmongOthers(PlainStore):
    """A claim for suspects takes ordinary tasks as well."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        ordinary = super().chosen(msgspec.structs.replace(claim, suspects=False), now) if claim.suspects else []
        return [*super().chosen(claim, now), *ordinary]


class SuspectsTogether(PlainStore):
    """Suspects are claimed as many as there are slots."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        if not claim.suspects:
            return super().chosen(claim, now)
        return [task for task in self.all() if is_claimable(task, now) and task.is_suspect and task.kind in claim.slots]


class SuspectsOfEveryKind(PlainStore):
    """A claim for suspects does not ask for the kind."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        every = dict.fromkeys((task.kind for task in self.all()), Slots(1)) if claim.suspects else claim.slots
        return super().chosen(msgspec.structs.replace(claim, slots=every), now)


class ClaimIsNotRepeatable(PlainStore):
    """A claim that is repeated after a lost reply takes other tasks."""

    async def claim(self, claim: Claim) -> Claimed:
        hidden = [task for task in self.all() if task.lease_uid == claim.lease_uid]
        for task in hidden:
            self.put(msgspec.structs.replace(task, lease_uid=f"{claim.lease_uid}, hidden"))
        claimed = await super().claim(claim)
        for task in hidden:
            self.put(task)
        return claimed


class RepeatTakesMore(PlainStore):
    """A repeated claim fills up with other tasks."""

    async def claim(self, claim: Claim) -> Claimed:
        first = await super().claim(claim)
        if all(task.started_at == first.now for task in first.tasks) and first.next_due is not None:
            return first
        known = {task.id for task in first.tasks}
        now = self.clock.now()
        more = [self.grant(task, claim, now) for task in self.chosen(claim, now) if task.id not in known]
        return msgspec.structs.replace(first, tasks=[*first.tasks, *more])


class RepeatExtends(PlainStore):
    """A repeated claim begins the lease anew."""

    async def claim(self, claim: Claim) -> Claimed:
        claimed = await super().claim(claim)
        until = claimed.now + claim.lease_for
        return msgspec.structs.replace(
            claimed,
            tasks=[self.put(msgspec.structs.replace(task, leased_until=until)) for task in claimed.tasks],
        )


class RepeatByCreation(PlainStore):
    """A repeated claim returns its tasks in the order of creation."""

    async def claim(self, claim: Claim) -> Claimed:
        repeated = any(task.lease_uid == claim.lease_uid for task in self.all())
        claimed = await super().claim(claim)
        tasks = sorted(claimed.tasks, key=lambda task: task.sequence) if repeated else claimed.tasks
        return msgspec.structs.replace(claimed, tasks=tasks)


class RepeatAsksForTheSame(PlainStore):
    """A repeated claim returns what fits its slots."""

    async def claim(self, claim: Claim) -> Claimed:
        claimed = await super().claim(claim)
        return msgspec.structs.replace(claimed, tasks=[task for task in claimed.tasks if task.kind in claim.slots])


class RepeatOfAnInstance(PlainStore):
    """What a claim was granted is known to the instance that granted it."""

    async def claim(self, claim: Claim) -> Claimed:
        known: dict[str, Claimed] = self.__dict__.setdefault("_granted", {})
        if claim.lease_uid not in known:
            hidden = [task for task in self.all() if task.lease_uid == claim.lease_uid]
            claim_ = msgspec.structs.replace(claim, lease_uid=f"{claim.lease_uid}+") if hidden else claim
            known[claim.lease_uid] = await super().claim(claim_)
        return known[claim.lease_uid]


class _Granting(PlainStore):
    """Writes a lease with other values in some fields."""

    def leased(self, task: Task, claim: Claim, now: datetime) -> Task:
        return msgspec.structs.replace(super().leased(task, claim, now), **self.instead(task, claim, now))

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        """Return the values that are wrong."""
        raise NotImplementedError


class OneMinuteLeases(_Granting):
    """A lease lasts a minute, whatever was asked for."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"leased_until": now + timedelta(minutes=1)}


class LeasesWithoutAName(_Granting):
    """A lease does not say who holds it."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"leased_by": None}


class GrantsCountNothing(_Granting):
    """A grant counts neither a claim nor a revision."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"claims": task.claims, "revision": task.revision}


class GrantsMoveTheTask(_Granting):
    """A grant puts off the task's own time until the end of the lease."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"wait_until": now + claim.lease_for}


class CleanUpsRunTheHandler(_Granting):
    """A cancelled task is claimed for its normal handler."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"in_cleanup": False}


class EverythingIsCleanUp(_Granting):
    """Every task is claimed for its clean-up."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"in_cleanup": True}


class FenceNumbersPerRun(_Granting):
    """The fence number counts the claims of the run."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"epoch": task.claims + 1}


class FenceNumbersPerTask(_Granting):
    """The fence number of a task goes with its deletion."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"epoch": task.epoch + 1}


class FenceNumbersStandStill(_Granting):
    """The fence number is always the same."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"epoch": 1}


class FenceNumbersFall(_Granting):
    """The fence numbers of one call fall."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        return {"epoch": self.storage.epoch + 1000 - 2 * task.sequence}


class ClaimReturnsTheOldRecord(PlainStore):
    """The reply shows the tasks as they were before."""

    def grant(self, task: Task, claim: Claim, now: datetime) -> Task:
        super().grant(task, claim, now)
        return msgspec.structs.replace(task, lease_uid=claim.lease_uid)


class ClaimReturnsMoreThanItWrites(PlainStore):
    """The leases in the reply are not in the storage."""

    def grant(self, task: Task, claim: Claim, now: datetime) -> Task:
        return self.leased(task, claim, now)


class ClaimTellsNoTime(PlainStore):
    """The time in a claim's reply is that of the store's making."""

    async def claim(self, claim: Claim) -> Claimed:
        return msgspec.structs.replace(await super().claim(claim), now=START)


class NoNextDue(PlainStore):
    """It is never said when something becomes due."""

    def next_due(self, claim: Claim, now: datetime) -> datetime | None:
        return None


class NextDueIgnoresGenerators(PlainStore):
    """Generators do not count for what becomes due."""

    def next_due(self, claim: Claim, now: datetime) -> datetime | None:
        times = [task.wait_until for task in self.all() if not task.is_generator and task.wait_until > now]
        return min(times, default=None) if super().next_due(claim, now) else None


class NextDueOfEverything(PlainStore):
    """What becomes due is looked for among finished, held and foreign tasks."""

    def next_due(self, claim: Claim, now: datetime) -> datetime | None:
        return min((task.wait_until for task in self.all() if task.wait_until > now), default=None)


class NextDueInThePast(PlainStore):
    """What is due but cannot be had names its own time."""

    def next_due(self, claim: Claim, now: datetime) -> datetime | None:
        return min((task.wait_until for task in self.all() if task.lease_uid is None), default=None)


class DeletionForgetsTheFence(PlainStore):
    """The fence numbers begin anew when a task is deleted."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        verdict = super().delete_one(guard, now)
        self.storage.epoch = 0 if verdict is Verdict.APPLIED else self.storage.epoch
        return verdict


class ResetForgetsTheFence(_Granting):
    """The fence numbers of a new run begin anew."""

    def instead(self, task: Task, claim: Claim, now: datetime) -> Mapping[str, object]:
        first_of_a_later_run = task.claims == 0 and task.epoch > 0
        return {"epoch": 0} if first_of_a_later_run else {}
