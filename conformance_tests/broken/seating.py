"""Broken keys, seats and groups: who comes next, and who holds a key."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from broken.plain import Key, PlainStore, Task
from oncetask_core.claims import Claim, Slots, chosen
from oncetask_core.seats import rightful_head
from oncetask_core.store import Claimed
from oncetask_core.task import NewTask
from oncetask_core.transition import Answer, Atom, Event, Guard, Inserted, Transition, Verdict


class SeatsWhoWasInsertedAgain(PlainStore):
    """Creating an id that exists gives it the seat."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        answer = super().insert_one(new, now)
        if not answer.created and new.resource_key is not None:
            task = self.storage.tasks[self.env, new.id]
            self.storage.tasks[self.env, new.id] = msgspec.structs.replace(task, head_key=new.resource_key)
        return answer


class NobodyIsSeated(PlainStore):
    """No task of a key is ever seated."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return None


class SeatsWhileHeld(PlainStore):
    """The next task is seated while the key is still held."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([task for task in tasks if task.lease_uid is None])


class SeatsWhenTheHeadEnds(PlainStore):
    """A group gives up its key with the end of its head."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        if any(task.lease_uid is not None and task.head_key is not None for task in tasks):
            return None
        return rightful_head([task for task in tasks if task.lease_uid is None])


class StrictOrderIgnored(PlainStore):
    """A strict order is treated like any other."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([msgspec.structs.replace(task, strict_order=False) for task in tasks])


class EveryOrderIsStrict(PlainStore):
    """A task in back-off holds up its key."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([msgspec.structs.replace(task, strict_order=True) for task in tasks])


class PriorityWithinAKey(PlainStore):
    """The most urgent task of a key is seated."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([msgspec.structs.replace(task, wait_until=task.order_at) for task in tasks])


class GeneratorsContend(PlainStore):
    """A generator takes part in the exclusion of its key."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([msgspec.structs.replace(task, recurrence=None) for task in tasks])


class FinishedTasksContend(PlainStore):
    """A finished task takes part in the exclusion of its key."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        return rightful_head([msgspec.structs.replace(task, outcome=None) for task in tasks])


class SeatStaysWithItsFirst(PlainStore):
    """A seat that was given is not given to an earlier task."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        rightful = rightful_head(tasks)
        seated = [task for task in tasks if task.head_key is not None and task.is_live]
        return seated[0] if rightful is not None and seated else rightful


class KeysOfAllKinds(PlainStore):
    """A key is shared by tasks of every kind."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        keys = {task.resource_key for task in tasks}
        every = [task for task in self.all() if task.resource_key in keys]
        rightful = rightful_head(every)
        return rightful if rightful in tasks else None


class LooseKeys(PlainStore):
    """Keys are compared without regard to case and final spaces."""

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        loose = {(task.resource_key or "").strip().casefold() for task in tasks}
        alike = [task for task in self.all() if (task.resource_key or "").strip().casefold() in loose]
        rightful = rightful_head(alike)
        return rightful if rightful in tasks else None


class SeatingIsADecision(PlainStore):
    """Whoever is seated counts a revision."""

    def seat(self, key: Key) -> None:
        before = {task.id for task in self.all() if task.head_key is not None}
        super().seat(key)
        for task in self.all():
            if task.head_key is not None and task.id not in before:
                newly = msgspec.structs.replace(task, revision=task.revision + 1)
                self.storage.tasks[self.env, task.id] = newly


class _Unseating(PlainStore):
    """Forgets the seats after some events."""

    events: frozenset[Event] = frozenset()

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        self._forgets = transition.event in self.events
        return super().applied(task, transition, now)

    def put(self, task: Task) -> Task:
        if not self.__dict__.pop("_forgets", False):
            return super().put(task)
        self.storage.tasks[self.env, task.id] = task
        return task


class NoSeatAfterASettle(_Unseating):
    """The key does not pass on when its holder ends."""

    events = frozenset({Event.SUCCEED, Event.FAIL})


class NoSeatAfterGivingBack(_Unseating):
    """The key does not pass on when its holder gives the task back."""

    events = frozenset({Event.SNOOZE, Event.RELEASE})


class NoSeatAfterAnExpiry(_Unseating):
    """The key does not pass on when a lease is expired."""

    events = frozenset({Event.EXPIRE})


class NoSeatAfterACancel(_Unseating):
    """The seat stays empty, or with the wrong task, after a cancel."""

    events = frozenset({Event.CANCEL})


class NoSeatAfterAReset(_Unseating):
    """A task that is reset is not seated."""

    events = frozenset({Event.RESET})


class NoSeatAfterAReschedule(_Unseating):
    """A seat is not looked at when a task moves in time."""

    events = frozenset({Event.RESCHEDULE})


class NoSeatAfterADeletion(PlainStore):
    """The seat of a deleted task goes to nobody."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        verdict = super().delete_one(guard, now)
        if task is not None and task.resource_key is not None:
            self.touched.discard((task.kind, task.resource_key))
        return verdict


class NoSeatForOccurrences(PlainStore):
    """What an atom inserts is not seated."""

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        answer = super().apply_one(atom, now)
        if atom.inserts:
            self.touched.clear()
        return answer


class SeatsForever(PlainStore):
    """A task that ends keeps its seat."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        return msgspec.structs.replace(super().applied(task, transition, now), head_key=task.head_key)

    def seat(self, key: Key) -> None:
        if not any(task.head_key is not None for task in self.all() if (task.kind, task.resource_key) == key):
            super().seat(key)


class ClaimGivesTheSeatAway(PlainStore):
    """A head that is claimed loses its seat."""

    def leased(self, task: Task, claim: Claim, now: datetime) -> Task:
        return msgspec.structs.replace(super().leased(task, claim, now), head_key=None)


class MembersAreSeated(PlainStore):
    """Every member of a group has a seat."""

    def leased(self, task: Task, claim: Claim, now: datetime) -> Task:
        return msgspec.structs.replace(super().leased(task, claim, now), head_key=task.resource_key)


class _Grouping(PlainStore):
    """Chooses groups among the tasks as they would be otherwise."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        heads = {task.id for task in super().chosen(_single(claim), now)}
        tasks = [task if task.id in heads else self.pretended(task, now) for task in self.all()]
        return [self.storage.tasks[self.env, task.id] for task in chosen(claim, tasks, now)]

    def pretended(self, task: Task, now: datetime) -> Task:
        """Return the successor as it would be."""
        raise NotImplementedError


def _single(claim: Claim) -> Claim:
    single = {kind: Slots(slots.limit) for kind, slots in claim.slots.items()}
    return msgspec.structs.replace(claim, slots=single)


class GroupsTakeWhatIsNotDue(_Grouping):
    """Successors join before their time."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return task if task.head_key else msgspec.structs.replace(task, wait_until=min(task.wait_until, now))


class GroupsTakeSuspects(_Grouping):
    """A task that crashed a worker joins a group."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return task if task.head_key else msgspec.structs.replace(task, crashes=0)


class GroupsTakeGenerators(_Grouping):
    """A generator joins a group."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return task if task.resource_key is None else msgspec.structs.replace(task, recurrence=None)


class GroupsTakeFinishedTasks(_Grouping):
    """A finished task joins a group."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return msgspec.structs.replace(task, outcome=None)


class GroupsPassGaps(_Grouping):
    """A strict order does not stop a group."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return msgspec.structs.replace(task, strict_order=False)


class GroupsOfAllKinds(_Grouping):
    """Tasks of another kind join a group."""

    def pretended(self, task: Task, now: datetime) -> Task:
        return task if task.head_key is None or task.kind == "parcel" else msgspec.structs.replace(task, kind="parcel")


class GroupsAreTooLarge(PlainStore):
    """The head of a group is not counted."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        larger = {kind: Slots(slots.limit, slots.group + 1) for kind, slots in claim.slots.items()}
        return super().chosen(msgspec.structs.replace(claim, slots=larger), now)


class NoGroups(PlainStore):
    """Successors never join."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return super().chosen(_single(claim), now)


class SuspectsHaveSuccessors(PlainStore):
    """A suspect is claimed with its successors."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        taken = super().chosen(claim, now)
        keys = {task.resource_key for task in taken if claim.suspects and task.resource_key}
        others = [task for task in self.all() if task.resource_key in keys and task not in taken]
        return [*taken, *others]


class SlotsCountMembers(PlainStore):
    """A group takes as many slots as it has members."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        limit = max((slots.limit for slots in claim.slots.values()), default=0)
        return super().chosen(claim, now)[: max(limit, 1)] if limit < 10 else super().chosen(claim, now)


class MembersAreMixed(PlainStore):
    """The reply is in claim order, whatever group a task belongs to."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        return sorted(super().chosen(claim, now), key=lambda task: (task.order_at, task.sequence))


class KeylessGroups(PlainStore):
    """Tasks without a key form a group."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        more = {
            kind: Slots(slots.limit * slots.group if self._keyless() else slots.limit, slots.group)
            for kind, slots in claim.slots.items()
        }
        return super().chosen(msgspec.structs.replace(claim, slots=more), now)

    def _keyless(self) -> bool:
        return all(task.resource_key is None for task in self.all())


class GroupEndsTogether(PlainStore):
    """The end of one member ends the lease of all."""

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        after = super().applied(task, transition, now)
        for other in self.all():
            if after.lease_uid is None and task.lease_uid is not None and task.lease_uid == other.lease_uid:
                self.put(msgspec.structs.replace(other, lease_uid=None, leased_until=None, leased_by=None))
        return after


class DeletionEndsTheGroup(PlainStore):
    """The deletion of one member ends the lease of all."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        verdict = super().delete_one(guard, now)
        for other in self.all():
            if task is not None and task.lease_uid is not None and task.lease_uid == other.lease_uid:
                self.put(msgspec.structs.replace(other, lease_uid=None, leased_until=None, leased_by=None))
        return verdict


class RepeatReturnsTheHead(PlainStore):
    """A repeated claim returns the first member of a group."""

    async def claim(self, claim: Claim) -> Claimed:
        held = [task for task in self.all() if task.lease_uid == claim.lease_uid]
        claimed = await super().claim(claim)
        grouped = held and held[0].resource_key is not None
        return msgspec.structs.replace(claimed, tasks=claimed.tasks[:1]) if grouped else claimed


class MembersByCreation(PlainStore):
    """The members of a group come in the order of creation."""

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        tasks = super().chosen(claim, now)
        grouped = len({task.resource_key for task in tasks}) == 1 and tasks[0].resource_key is not None
        return sorted(tasks, key=lambda task: task.sequence) if grouped else tasks
