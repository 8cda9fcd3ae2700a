"""Stores that are right one call at a time: they look first and write later."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from broken.plain import PlainStore
from oncetask_core.claims import Claim
from oncetask_core.store import Claimed, Renewed
from oncetask_core.transition import Answer, Atom, Guard, Verdict


class AppliesInTwoSteps(PlainStore):
    """Guards are checked by a read before the write."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        before = dict(self.storage.tasks)
        answers = await super().apply(atoms)
        self.undo(before)
        await asyncio.sleep(0)
        for atom, answer in zip(atoms, answers, strict=True):
            for transition in atom.transitions if answer.verdict is Verdict.APPLIED else ():
                task = self.one(transition.guard.id)
                if task is not None:
                    self.put(self.applied(task, transition, self.clock.now()))
            for new in atom.inserts if answer.verdict is Verdict.APPLIED else ():
                self.insert_one(new, self.clock.now())
        self.seat_all()
        return answers


class ClaimsInTwoSteps(PlainStore):
    """What is due is read before it is leased."""

    async def claim(self, claim: Claim) -> Claimed:
        now = self.clock.now()
        chosen = self.chosen(claim, now)
        await asyncio.sleep(0)
        if any(task.lease_uid == claim.lease_uid for task in self.all()) or not chosen:
            return await super().claim(claim)
        return Claimed(tasks=[self.grant(task, claim, now) for task in chosen], now=now)


class RepeatsInTwoSteps(PlainStore):
    """Whether a claim is a repeat is looked up before it."""

    async def claim(self, claim: Claim) -> Claimed:
        repeated = any(task.lease_uid == claim.lease_uid for task in self.all())
        await asyncio.sleep(0)
        if repeated:
            return await super().claim(claim)
        now = self.clock.now()
        tasks = [self.grant(task, claim, now) for task in self.chosen(claim, now)]
        return Claimed(tasks=tasks, now=now, next_due=self.next_due(claim, now))


class DeletesInTwoSteps(PlainStore):
    """Guards of deletions are checked by a read before the removal."""

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        before = dict(self.storage.tasks)
        verdicts = await super().delete(guards)
        self.undo(before)
        await asyncio.sleep(0)
        for guard, verdict in zip(guards, verdicts, strict=True):
            if verdict is Verdict.APPLIED:
                self.storage.tasks.pop((self.env, guard.id), None)
        return verdicts


class RenewsInTwoSteps(PlainStore):
    """What a lease holds is read before it is extended."""

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        held = [task for task in self.all() if task.lease_uid in leases]
        await asyncio.sleep(0)
        now = self.clock.now()
        return Renewed(held=[self.renewed(task, leases[task.lease_uid or ""], now) for task in held], now=now)
