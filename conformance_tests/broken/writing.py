"""Broken writes: patches, batches and new tasks that come out wrong."""

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.errors import StoreError
from oncetask_core.store import Found
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Answer, Atom, Event, Inserted, Patch, Transition, Verdict


def written(task: Task, **fields: object) -> Task:
    """Return the record with other values in some fields."""
    return msgspec.structs.replace(task, **fields)


class _Keeping(PlainStore):
    """Leaves some fields as they were when an event is applied."""

    event: Event | None = None
    keeps: Collection[str] = ()

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        if self.event not in (None, transition.event):
            return after
        return written(after, **{name: getattr(task, name) for name in self.keeps})


class ExpiryKeepsTheToken(_Keeping):
    """An expired task keeps its lease."""

    event = Event.EXPIRE
    keeps = ("lease_uid", "leased_by", "leased_until")


class ExpiryChargesNothing(_Keeping):
    """A crash is neither counted nor recorded."""

    event = Event.EXPIRE
    keeps = ("crashes", "errors", "error_count")


class ExpirySettles(PlainStore):
    """An expired lease is remembered as if its holder had settled it."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        if transition.event is not Event.EXPIRE:
            return after
        return written(after, settled_by=(*task.settled_by, task.lease_uid or ""))


class ResetKeepsTheRun(_Keeping):
    """A reset task has the identity of its old run."""

    event = Event.RESET
    keeps = ("run_uid",)


class ResetKeepsTheHistory(_Keeping):
    """A new run begins with the counters, errors and settlements of the old one."""

    event = Event.RESET
    keeps = (
        "settled_by",
        "claims",
        "failures",
        "crashes",
        "cleanup_attempts",
        "errors",
        "error_count",
        "progress",
        "result",
        "started_at",
        "in_cleanup",
    )


class ResetKeepsTheEnd(_Keeping):
    """A reset task is still finished."""

    event = Event.RESET
    keeps = ("outcome", "done_at", "is_cancelled", "cancelled_at")


class ResetRestartsGenerators(PlainStore):
    """A generator that is reset is due at once."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return written(after, wait_until=now) if transition.event is Event.RESET else after


class ResetForgetsTheCreator(PlainStore):
    """A reset counts as another creation."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return written(after, created_at=now, sequence=10**9) if transition.event is Event.RESET else after


class SettledTasksKeepTheirLease(_Keeping):
    """The end of a run leaves the worker's name behind."""

    keeps = ("leased_by",)


class ForgetsWhoSettled(_Keeping):
    """The leases that settled a run are not remembered."""

    keeps = ("settled_by",)


class ForgetsResults(_Keeping):
    """A handler's value is not stored."""

    keeps = ("result",)


class ForgetsProgress(_Keeping):
    """What a handler reported is not stored."""

    keeps = ("progress",)


class ForgetsFailures(_Keeping):
    """Failed attempts are not counted."""

    keeps = ("failures",)


class ForgetsCleanUpAttempts(_Keeping):
    """Failed clean-up attempts are not counted."""

    keeps = ("cleanup_attempts",)


class NoneLeavesAlone(PlainStore):
    """A patch cannot clear a field."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        kept = {name: value for name, value in transition.patch.items() if value is not None}
        patch = cast(Patch, kept)
        return super().applied(task, msgspec.structs.replace(transition, patch=patch), now)


class OrderStaysBehind(_Keeping):
    """A task that moves in time keeps its old place in the claim order."""

    keeps = ("order_at",)


class RetriesAtOnce(PlainStore):
    """The delay of a retry or snooze is not added to the clock."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return written(after, wait_until=min(after.wait_until, now), order_at=min(after.order_at, now))


class RelativeTimesForWaitingAlone(PlainStore):
    """A time relative to the store's clock is the clock's time where it is no waiting time."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        relative = {name for name, value in transition.patch.items() if isinstance(value, StoreNow)}
        wrong = dict.fromkeys(relative & {"cancelled_at", "done_at", "order_at"}, now)
        return written(super().applied(task, transition, now), **wrong)


class CancelTakesTheLease(PlainStore):
    """A cancel ends the lease of the worker that runs the task."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        if transition.event is not Event.CANCEL:
            return after
        return written(after, lease_uid=None, leased_until=None, leased_by=None)


class CancelEndsRunningTasks(PlainStore):
    """A task that a worker holds is cancelled at once."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        held = task.lease_uid is not None and transition.event is Event.CANCEL
        return written(after, outcome="cancelled", done_at=now) if held else after


class CancelIsForgotten(_Keeping):
    """A task that was cancelled is not marked."""

    event = Event.CANCEL
    keeps = ("is_cancelled", "cancelled_at")


class SettleTouchesTheRest(PlainStore):
    """The end of a run writes the whole record, with defaults for what the patch does not name."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        return written(super().applied(task, transition, now), headers={}, queue="default", priority=0)


class ReleaseGoesToTheEnd(PlainStore):
    """A released task queues up behind all others."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return written(after, wait_until=now, order_at=now) if transition.event is Event.RELEASE else after


class ShortErrors(PlainStore):
    """Error texts are cut after 255 characters."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        errors = tuple(msgspec.structs.replace(error, error=error.error[:255]) for error in after.errors)
        return written(after, errors=errors)


class LastErrorOnly(PlainStore):
    """Only the latest error is kept."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        return written(after, errors=after.errors[-1:], settled_by=after.settled_by[-1:])


class OneRefusedVoidsAll(PlainStore):
    """A batch with a refused atom writes nothing."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        before = dict(self.storage.tasks)
        answers = await super().apply(atoms)
        if any(answer.verdict is not Verdict.APPLIED for answer in answers):
            self.undo(before)
        return answers


class OneBrokenVoidsAll(PlainStore):
    """A batch with an atom that cannot be stored fails as a whole."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        before = dict(self.storage.tasks)
        answers = await super().apply(atoms)
        for answer in answers:
            if answer.error is not None:
                self.undo(before)
                raise answer.error
        return answers


class BrokenWithoutAnError(PlainStore):
    """Why an atom could not be stored is not said."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        return [msgspec.structs.replace(answer, error=None) for answer in await super().apply(atoms)]


class AtomsInParts(PlainStore):
    """What an atom wrote before it was refused stays written."""

    def undo(self, before: dict[tuple[str, str], Task]) -> None:
        pass


class InsertsFirst(PlainStore):
    """A tick creates its occurrences and then looks whether it may."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        inserted = tuple(self.insert_one(new, now) for new in atom.inserts)
        answer = super().apply_one(msgspec.structs.replace(atom, inserts=()), now)
        return msgspec.structs.replace(answer, inserted=inserted)


class TickWithoutOccurrence(PlainStore):
    """A generator moves on and its occurrence gets lost."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        return super().apply_one(msgspec.structs.replace(atom, inserts=()), now)


class ExistingIdRefusesTheAtom(PlainStore):
    """An atom that inserts an id that exists is refused."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        if any(self.one(new.id) is not None for new in atom.inserts):
            return Answer(verdict=Verdict.CHANGED)
        return super().apply_one(atom, now)


class JudgesBeforehand(PlainStore):
    """All atoms of a call are judged on what was there before it."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        self._before = {task.id: task for task in self.all()}
        return await super().apply(atoms)

    def one(self, task_id: str) -> Task | None:
        before: Mapping[str, Task] = getattr(self, "_before", {})
        return before.get(task_id) or super().one(task_id)


class AnswersOutOfOrder(PlainStore):
    """Answers come applied ones first."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        answers = await super().apply(atoms)
        return sorted(answers, key=lambda answer: answer.verdict is not Verdict.APPLIED)


class EmptyAtomIsRefused(PlainStore):
    """An atom without any write is reported as missing."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        empty = not atom.transitions and not atom.inserts
        return Answer(verdict=Verdict.MISSING) if empty else super().apply_one(atom, now)


class TransitionsOneByOne(PlainStore):
    """The transitions of one atom are written as if each were an atom."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        for transition in atom.transitions[:-1]:
            super().apply_one(Atom((transition,)), now)
        return super().apply_one(Atom(atom.transitions[-1:], atom.inserts), now)


class EmptyCallFails(PlainStore):
    """A call without anything to do fails."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        return await super().apply([atoms[0], *atoms[1:]])

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return await super().insert([tasks[0], *tasks[1:]])

    async def get(self, ids: Collection[str]) -> Found:
        return await super().get([next(iter(ids)), *ids])


class InsertOverwrites(PlainStore):
    """Creating an id again replaces the task."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        self.storage.tasks.pop((self.env, new.id), None)
        return super().insert_one(new, now)


class InsertIgnoresTheEnvironment(PlainStore):
    """An id is taken when it exists in any environment."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        for (env, task_id), task in self.storage.tasks.items():
            if task_id == new.id and env != self.env:
                return Inserted(id=new.id, created=False, kind=task.kind, created_by=task.created_by)
        return super().insert_one(new, now)


class ClaimsOthersTasksAsItsOwn(PlainStore):
    """The answer for an id that exists names the caller's own kind and nonce."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        answer = super().insert_one(new, now)
        return msgspec.structs.replace(answer, kind=new.kind, created_by=new.created_by)


class EveryInsertCreates(PlainStore):
    """Whoever inserts is told that the task is new."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        return msgspec.structs.replace(super().insert_one(new, now), created=True)


class NothingIsNew(PlainStore):
    """Whoever inserts is told that the task existed."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        return msgspec.structs.replace(super().insert_one(new, now), created=False)


class AnswersOnlyForCreated(PlainStore):
    """Ids that exist have no answer."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return [answer for answer in await super().insert(tasks) if answer.created]


class LastOfEqualIdsWins(PlainStore):
    """Of equal ids in one call the last is created."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        last = {new.id: new for new in tasks}
        answers = {answer.id: answer for answer in await super().insert(list(last.values()))}
        return [answers[new.id] for new in tasks]


class LooseIds(PlainStore):
    """Ids are compared as a lenient collation would: case, form and final spaces are nothing."""

    def one(self, task_id: str) -> Task | None:
        def loose(text: str) -> str:
            return unicodedata.normalize("NFKC", text).casefold().rstrip()

        return next((task for task in self.all() if loose(task.id) == loose(task_id)), None)


class PayloadReformatted(PlainStore):
    """Payloads are parsed and written anew."""

    def born(self, new: NewTask, now: datetime) -> Task:
        return written(super().born(new, now), payload=json.dumps(json.loads(new.payload)))


class WholeSeconds(PlainStore):
    """Times are kept to the second."""

    def born(self, new: NewTask, now: datetime) -> Task:
        task = super().born(new, now)
        return written(task, wait_until=task.wait_until.replace(microsecond=0))


class NaiveTimes(PlainStore):
    """Times come back without their zone."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        naive = {
            task.id: written(task, wait_until=task.wait_until.replace(tzinfo=None)) for task in found.tasks.values()
        }
        return Found(tasks=naive)


class WorkersTime(PlainStore):
    """A time relative to the store's clock is resolved on another clock."""

    def born(self, new: NewTask, now: datetime) -> Task:
        later = now + timedelta(seconds=3)
        return super().born(new, later if isinstance(new.wait_until, StoreNow) else now)


class PriorityIgnored(PlainStore):
    """All tasks are equally urgent."""

    def born(self, new: NewTask, now: datetime) -> Task:
        task = super().born(new, now)
        return written(task, order_at=task.wait_until)


class PriorityIsEverything(PlainStore):
    """The more urgent task always comes first, however long others have waited."""

    def born(self, new: NewTask, now: datetime) -> Task:
        task = super().born(new, now)
        return written(task, order_at=task.wait_until - new.priority * timedelta(days=365))


class HeadersDropped(PlainStore):
    """Headers are not stored."""

    def born(self, new: NewTask, now: datetime) -> Task:
        return written(super().born(new, now), headers={})


class RulesDropped(PlainStore):
    """The rule of a generator is not stored."""

    def born(self, new: NewTask, now: datetime) -> Task:
        return written(super().born(new, now), recurrence=None)


class OccurrencesForgetTheirOrigin(PlainStore):
    """An occurrence is not linked to its generator."""

    def born(self, new: NewTask, now: datetime) -> Task:
        return written(super().born(new, now), parent_recurrence_id=None, occurrence_timestamp=None)


class LongIdsCut(PlainStore):
    """Keys are cut after 191 characters."""

    def born(self, new: NewTask, now: datetime) -> Task:
        task = super().born(new, now)
        return written(task, resource_key=task.resource_key[:191] if task.resource_key else None)


class BornLeased(PlainStore):
    """A new task begins with a revision and a claim."""

    def born(self, new: NewTask, now: datetime) -> Task:
        return written(super().born(new, now), revision=1, claims=1)


class SortedCreation(PlainStore):
    """Tasks of one call are numbered in the order of their ids."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        answers = {answer.id: answer for answer in await super().insert(sorted(tasks, key=lambda new: new.id))}
        return [answers[new.id] for new in tasks]


class FirstFiveHundred(PlainStore):
    """A call takes 500 tasks and forgets the rest."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return await super().insert(tasks[:500])


class FirstHundredAtoms(PlainStore):
    """A call writes 100 atoms and forgets the rest."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        answers = list(await super().apply(atoms[:100]))
        return [
            *answers,
            *(Answer(verdict=Verdict.BROKEN, error=StoreError("too many")) for _ in atoms[100:]),
        ]
