"""Broken guards: who may write when nobody should, and who is told what."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.claims import Claim
from oncetask_core.transition import Answer, Atom, Event, Guard, Transition, Verdict, judge


class NoFence(PlainStore):
    """Whoever settles is believed, whatever lease it had."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is not None and guard.lease_uid is not None and not guard.run_out:
            return Verdict.APPLIED
        return judge(guard, task, now)


class TokenWithoutRun(PlainStore):
    """A holder is known by its lease alone, and not by the run."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is not None and guard.lease_uid is not None:
            guard = msgspec.structs.replace(guard, run_uid=task.run_uid)
        return judge(guard, task, now)


class TokenWithoutGrant(PlainStore):
    """Two grants of one lease are taken for one."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        return judge(msgspec.structs.replace(guard, epoch=None), task, now)


class TokenOfTheKey(PlainStore):
    """A group's lease is checked for the key, and not for the member."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is None or guard.lease_uid is None or task.resource_key is None or guard.run_out:
            return judge(guard, task, now)
        of_key = [other for other in self.all() if other.resource_key == task.resource_key]
        holds = any(other.lease_uid == guard.lease_uid for other in of_key)
        return Verdict.APPLIED if holds else judge(guard, task, now)


class AttemptsAsToken(PlainStore):
    """A holder is known by the number of its attempt, and not by its lease."""

    def leased(self, task: Task, claim: Claim, now: datetime) -> Task:
        granted = super().leased(task, claim, now)
        self.storage.tokens[claim.lease_uid, task.id] = granted.attempts
        return granted

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        attempt = self.storage.tokens.get((guard.lease_uid or "", guard.id))
        if task is not None and attempt is not None and task.attempts == attempt and not guard.run_out:
            return Verdict.APPLIED
        return judge(guard, task, now)


class CaseInsensitiveToken(PlainStore):
    """Leases are compared without regard to case."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is not None and (guard.lease_uid or "").lower() == (task.lease_uid or "").lower():
            guard = msgspec.structs.replace(guard, lease_uid=task.lease_uid)
        return judge(guard, task, now)


class HolderIgnoresRevision(PlainStore):
    """A holder settles by a decision that a cancel has overtaken."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        holder = guard if guard.lease_uid is None else msgspec.structs.replace(guard, revision=None)
        return judge(holder, task, now)


class ResettleRefused(PlainStore):
    """A settle that is repeated after a lost reply is told that the lease is lost."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        verdict = judge(guard, task, now)
        return Verdict.LEASE_LOST if verdict is Verdict.ALREADY else verdict


class ResettleWritten(PlainStore):
    """A settle that is repeated is written once more."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        verdict = judge(guard, task, now)
        return Verdict.APPLIED if verdict is Verdict.ALREADY else verdict


class EveryLateSettleIsARepeat(PlainStore):
    """A superseded holder is told that its settle was accepted."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        verdict = judge(guard, task, now)
        return Verdict.ALREADY if verdict is Verdict.LEASE_LOST else verdict


class BlindDecisions(PlainStore):
    """Cancels, resets, reschedules, ticks and deletions are written over whatever is there."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        blind = task is not None and guard.lease_uid is None
        return Verdict.APPLIED if blind else judge(guard, task, now)


class RevisionWithoutRun(PlainStore):
    """A decision is guarded by the revision alone, which a task created anew has as well."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is not None and guard.lease_uid is None:
            guard = msgspec.structs.replace(guard, run_uid=task.run_uid)
        return judge(guard, task, now)


class ExpiresBlindly(PlainStore):
    """An expiry does not ask the clock again whether the lease has run out."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        return judge(msgspec.structs.replace(guard, run_out=False), task, now)


class ExpiresAMomentLate(PlainStore):
    """A lease until noon is still held at noon."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        verdict = judge(guard, task, now)
        at_its_end = guard.run_out and task is not None and task.leased_until == now
        return Verdict.CHANGED if at_its_end and verdict is Verdict.APPLIED else verdict


class ClockEndsLeases(PlainStore):
    """A holder whose lease has run out is refused, though nobody has expired it."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        late = task is not None and task.leased_until is not None and task.leased_until <= now
        return Verdict.LEASE_LOST if late and guard.lease_uid and not guard.run_out else judge(guard, task, now)


class LateExpiryIsARepeat(PlainStore):
    """An expiry of a lease that was settled is told that it was done before."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        if task is not None and task.lease_uid != guard.lease_uid:
            guard = msgspec.structs.replace(guard, run_out=False)
        return judge(guard, task, now)


class MissingIsChanged(PlainStore):
    """A task that does not exist is reported as changed."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        return Verdict.CHANGED if task is None else judge(guard, task, now)


class RefusesWithoutARecord(PlainStore):
    """Who is refused is not shown the record."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        return [msgspec.structs.replace(answer, task=None) for answer in await super().apply(atoms)]


class ProgressIsADecision(PlainStore):
    """Progress counts a revision."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return msgspec.structs.replace(after, revision=task.revision + 1)


class ProgressNeedsTheRevision(PlainStore):
    """Progress is refused when a cancel came in between."""

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        by_holder = guard.lease_uid is not None and guard.revision is None
        if by_holder and task is not None and task.is_cancelled:
            return Verdict.CHANGED
        return judge(guard, task, now)


class NoRevisions(PlainStore):
    """No transition counts a revision."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        return msgspec.structs.replace(super().applied(task, transition, now), revision=task.revision)


class SettlesCountNoRevision(PlainStore):
    """A holder's end of a lease counts no revision."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        by_holder = transition.guard.lease_uid is not None and transition.event is not Event.EXPIRE
        return msgspec.structs.replace(after, revision=task.revision) if by_holder else after
