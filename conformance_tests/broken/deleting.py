"""Broken deletions: tasks that go when they should stay, and leave something behind."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.decisions import deletion
from oncetask_core.task import NewTask
from oncetask_core.transition import Guard, Inserted, Verdict, judge


class DeletesUnguarded(PlainStore):
    """A task is deleted by its id, whatever it has become."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        current = guard if task is None else deletion(task)
        return super().delete_one(current, now)


class HeldTasksCannotBeDeleted(PlainStore):
    """A task that a worker holds is not deleted."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        held = task is not None and task.lease_uid is not None
        return Verdict.CHANGED if held else super().delete_one(guard, now)


class DeletesOnlyFinished(PlainStore):
    """An unfinished task is marked instead of deleted, and its id stays taken."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        live = task is not None and task.is_live
        return judge(guard, task, now) if live else super().delete_one(guard, now)


class DeletionsAllOrNothing(PlainStore):
    """One refused guard keeps all tasks of a call."""

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        before = dict(self.storage.tasks)
        verdicts = await super().delete(guards)
        if any(verdict is Verdict.CHANGED for verdict in verdicts):
            self.undo(before)
        return verdicts


class DeletesAHundred(PlainStore):
    """A call deletes a hundred tasks at most."""

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        verdicts = list(await super().delete(guards[:100]))
        return [*verdicts, *(Verdict.CHANGED for _ in guards[100:])]


class DeletesTwice(PlainStore):
    """A task that does not exist counts as deleted."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        return Verdict.APPLIED if self.one(guard.id) is None else super().delete_one(guard, now)


class DeletesByPattern(PlainStore):
    """A deletion takes ids that merely look alike."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        verdict = super().delete_one(guard, now)
        for task in self.all():
            if verdict is Verdict.APPLIED and task.id.strip().casefold() == guard.id:
                del self.storage.tasks[self.env, task.id]
        return verdict


class DeletesEverythingForNothing(PlainStore):
    """An empty deletion has no condition."""

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        if not guards:
            self.storage.tasks.clear()
        return await super().delete(guards)


class ReusesSequences(PlainStore):
    """A task under an old id takes the place of the old one."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        answer = super().insert_one(new, now)
        task = self.one(new.id)
        if task is not None and answer.created:
            place = self.storage.tokens.setdefault(("place of", new.id), task.sequence)
            self.put(msgspec.structs.replace(task, sequence=place))
        return answer


class KeepsTheOldHistory(PlainStore):
    """A task created under an old id goes on with its counters."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        verdict = super().delete_one(guard, now)
        if task is not None and verdict is Verdict.APPLIED:
            self.storage.tokens["claims of", task.id] = task.claims
        return verdict

    def born(self, new: NewTask, now: datetime) -> Task:
        claims = self.storage.tokens.get(("claims of", new.id), 0)
        return msgspec.structs.replace(super().born(new, now), claims=claims)
