"""A correct store as plainly as it can be said: dictionaries and the executable specification.

Every rule is a method of its own, so that a broken store is a change of a few lines. It looks at all tasks
for every call, and is of no use but here.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec

from oncetask_conformance.harness import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS, RawTask, as_raw
from oncetask_core.claims import Claim, chosen, leased, next_due
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.errors import StoreError
from oncetask_core.query import (
    Page,
    TaskFilter,
    TaskOrder,
    TaskQuery,
    check_query,
    cursor_after,
    matches,
    read_cursor,
)
from oncetask_core.seats import rightful_head
from oncetask_core.store import Claimed, ControlRecord, Found, HeldLease, Renewed
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Transition, Verdict, applied, judge

Task = OnceTask[object]
Key = tuple[str, str]

_GLANCE = 0.001


class Storage:
    """What all instances of one space share."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[str, str], Task] = {}
        self.records: dict[tuple[str, str], ControlRecord] = {}
        self.revisions: dict[tuple[str, str], int] = {}
        """The latest revision of every control record that there ever was."""
        self.lock = threading.RLock()
        self.sequence = 0
        self.epoch = 0
        self.changes = 0
        self.spoiled: set[tuple[str, str]] = set()
        """Which records cannot be read."""
        self.set_aside: set[tuple[str, str]] = set()
        """Which of them a claim has met."""
        self.tokens: dict[tuple[str, str], int] = {}
        """Room for what broken stores remember of leases."""
        self.ghosts: list[Task] = []
        """Room for what broken stores remember of deleted tasks."""


class PlainStore:
    """A correct store: the verbs first, then the rules that they ask."""

    def __init__(self, env: str, *, clock: Clock | None, storage: Storage) -> None:
        self.env = env
        self.clock: Clock = SystemClock() if clock is None else clock
        self.storage = storage
        self.touched: set[Key] = set()
        self.noticed: int | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected, and what others write is noticed."""
        return frozenset({INJECTED_CLOCK, "wake_ups"})

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def migrate(self) -> None:
        """Do nothing."""

    async def now(self) -> datetime:
        """Return the clock's time."""
        return self.clock.now()

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown."""
        with self.storage.lock:
            answers = [self.insert_one(new, self.clock.now()) for new in tasks]
            self.seat_all()
            return answers

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        with self.storage.lock:
            unreadable = {task_id: why for task_id, why in self.unreadable().items() if task_id in ids}
            return Found(tasks={task.id: task for task in self.all() if task.id in ids}, unreadable=unreadable)

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match."""
        check_query(query)
        with self.storage.lock:
            rest = self.after(query, self.listed(query.where, query.order))
        page = rest[: query.limit]
        cursor = cursor_after(page[-1], query.order) if len(rest) > query.limit else None
        return Page(tasks=page, cursor=cursor, unreadable={} if query.cursor else self.unreadable())

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match."""
        with self.storage.lock:
            return len(self.listed(where, TaskOrder.OLDEST))

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks."""
        with self.storage.lock:
            now = self.clock.now()
            held = [task for task in self.all() if task.lease_uid == claim.lease_uid]
            if held:
                return Claimed(tasks=sorted(held, key=lambda task: task.epoch), now=now)
            tasks = [self.grant(task, claim, now) for task in self.chosen(claim, now)]
            unreadable = self.met()
            self.seat_all()
            return Claimed(tasks=tasks, now=now, next_due=self.next_due(claim, now), unreadable=unreadable)

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold."""
        with self.storage.lock:
            answers = [self.apply_one(atom, self.clock.now()) for atom in atoms]
            self.seat_all()
            return answers

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold."""
        with self.storage.lock:
            now = self.clock.now()
            held = [task for task in self.all() if task.lease_uid in leases]
            return Renewed(held=[self.renewed(task, leases[task.lease_uid or ""], now) for task in held], now=now)

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        with self.storage.lock:
            verdicts = [self.delete_one(guard, self.clock.now()) for guard in guards]
            self.seat_all()
            return verdicts

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`."""
        with self.storage.lock:
            names = [name for env, name in self.storage.records if env == self.env and self.begins(name, prefix)]
            return {name: self.storage.records[self.env, name] for name in names}

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write or remove a control record."""
        with self.storage.lock:
            record = self.storage.records.get((self.env, name))
            revision = 0 if record is None else record.revision
            if if_revision not in (None, revision):
                return False
            self.storage.records.pop((self.env, name), None)
            if value is not None:
                self.storage.records[self.env, name] = self.next_record(name, value)
            return True

    async def changed(self) -> None:
        """Return once something was written since the last such call returned; the first call returns at once."""
        while self.noticed == self.heard():  # noqa: ASYNC110 - others write from other threads
            await asyncio.sleep(_GLANCE)
        self.noticed = self.heard()

    def heard(self) -> int:
        """Return a number that rises with everything that is written."""
        return self.storage.changes

    def all(self) -> list[Task]:
        """Return every task of the environment that can be read."""
        readable = self.storage.tasks.keys() - self.storage.spoiled
        return [task for key, task in self.storage.tasks.items() if key[0] == self.env and key in readable]

    def unreadable(self) -> Mapping[str, str]:
        """Return which records of the environment cannot be read, and why."""
        return {task_id: "spoiled" for env, task_id in self.storage.spoiled if env == self.env}

    def met(self) -> Mapping[str, str]:
        """Set the unreadable records aside, and return those that were not before."""
        new = {key for key in self.storage.spoiled if key[0] == self.env} - self.storage.set_aside
        self.storage.set_aside |= new
        for key in new:
            self.touch(self.storage.tasks[key])
        return {task_id: "spoiled" for _, task_id in new}

    def one(self, task_id: str) -> Task | None:
        """Return the task with this id."""
        return self.storage.tasks.get((self.env, task_id))

    def put(self, task: Task) -> Task:
        """Store a record and note its key."""
        self.storage.tasks[self.env, task.id] = task
        self.storage.changes += 1
        self.touch(task)
        return task

    def touch(self, task: Task) -> None:
        """Note that the key of the task may need another seat."""
        if task.resource_key is not None:
            self.touched.add((task.kind, task.resource_key))

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        """Add one task, unless its id is known."""
        task = self.one(new.id)
        created = task is None
        if task is None:
            self.storage.sequence += 1
            task = self.put(self.born(new, now))
        return Inserted(id=new.id, created=created, kind=task.kind, created_by=task.created_by)

    def born(self, new: NewTask, now: datetime) -> Task:
        """Return the record of a new task."""
        return born(new, env=self.env, now=now, sequence=self.storage.sequence)

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        """Return whether the filter means the task."""
        return matches(where, task, now)

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        """Return all tasks that match, in order."""
        found = [task for task in self.all() if self.matches(where, task, self.clock.now())]
        return sorted(found, key=lambda task: task.sequence, reverse=order is TaskOrder.NEWEST)

    def after(self, query: TaskQuery, tasks: list[Task]) -> list[Task]:
        """Return what comes behind the cursor."""
        if query.cursor is None:
            return tasks
        position = read_cursor(query.cursor, query.order)
        if query.order is TaskOrder.NEWEST:
            return [task for task in tasks if task.sequence < position]
        return [task for task in tasks if task.sequence > position]

    def chosen(self, claim: Claim, now: datetime) -> Sequence[Task]:
        """Return the tasks that the claim takes."""
        return chosen(claim, self.all(), now)

    def grant(self, task: Task, claim: Claim, now: datetime) -> Task:
        """Write the lease of one task."""
        self.storage.epoch += 1
        return self.put(self.leased(task, claim, now))

    def leased(self, task: Task, claim: Claim, now: datetime) -> Task:
        """Return the record with its lease."""
        return leased(task, claim, now=now, epoch=self.storage.epoch)

    def next_due(self, claim: Claim, now: datetime) -> datetime | None:
        """Return when something of these kinds becomes due."""
        return next_due(self.all(), claim.slots, now)

    def apply_one(self, atom: Atom, now: datetime) -> Answer:
        """Write one atom, all of it or nothing."""
        before = dict(self.storage.tasks)
        try:
            refused = self.write(atom.transitions, now)
            inserted = () if refused else tuple(self.insert_one(new, now) for new in atom.inserts)
        except (OverflowError, UnicodeError) as error:
            refused, inserted = Answer(verdict=Verdict.BROKEN, error=StoreError(str(error))), ()
        if refused is None:
            return Answer(verdict=Verdict.APPLIED, inserted=inserted)
        self.undo(before)
        return refused if refused.task is None else msgspec.structs.replace(refused, task=self.one(refused.task.id))

    def undo(self, before: dict[tuple[str, str], Task]) -> None:
        """Take back what a refused atom has written."""
        self.storage.tasks.clear()
        self.storage.tasks.update(before)

    def write(self, transitions: Iterable[Transition], now: datetime) -> Answer | None:
        """Write transitions up to the first that is refused, and return its answer."""
        for transition in transitions:
            task = self.one(transition.guard.id)
            verdict = self.judge(transition.guard, task, now)
            if task is None or verdict is not Verdict.APPLIED:
                return Answer(verdict=verdict, task=self.one(transition.guard.id))
            self.put(self.applied(task, transition, now))
        return None

    def judge(self, guard: Guard, task: Task | None, now: datetime) -> Verdict:
        """Return whether the guard holds."""
        return judge(guard, task, now)

    def applied(self, task: Task, transition: Transition, now: datetime) -> Task:
        """Return the record after the transition."""
        return applied(task, transition, now)

    def renewed(self, task: Task, duration: timedelta | None, now: datetime) -> HeldLease:
        """Extend one lease."""
        if duration is not None and task.leased_until is not None:
            self.put(msgspec.structs.replace(task, leased_until=max(task.leased_until, now + duration)))
        return HeldLease(
            id=task.id,
            run_uid=task.run_uid,
            lease_uid=task.lease_uid or "",
            cancel_requested=task.is_cancelled,
        )

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        """Remove one task, if the guard holds."""
        task = self.one(guard.id)
        verdict = self.judge(guard, task, now)
        if task is not None and verdict is Verdict.APPLIED:
            self.touch(task)
            del self.storage.tasks[self.env, guard.id]
        return verdict

    def next_record(self, name: str, value: str) -> ControlRecord:
        """Return a control record whose revision was never used for its name."""
        revision = self.storage.revisions.get((self.env, name), 0) + 1
        self.storage.revisions[self.env, name] = revision
        return ControlRecord(name=name, value=value, revision=revision)

    def begins(self, name: str, prefix: str) -> bool:
        """Return whether the name has the prefix."""
        return name.startswith(prefix)

    def seat_all(self) -> None:
        """Seat every key that was touched."""
        while self.touched:
            self.seat(self.touched.pop())

    def seat(self, key: Key) -> None:
        """Give the seat of one key to whoever it belongs to."""
        of_key = [task for task in self.all() if (task.kind, task.resource_key) == key]
        head = self.rightful_head(of_key)
        for task in of_key:
            keeps = task.lease_uid is not None and task.head_key is not None
            holds = keeps or (head is not None and task.id == head.id)
            seated = msgspec.structs.replace(task, head_key=task.resource_key if holds else None)
            self.storage.tasks[self.env, task.id] = seated

    def rightful_head(self, tasks: Sequence[Task]) -> Task | None:
        """Return whom the seat of a key belongs to."""
        return rightful_head(tasks)


class PlainSpace:
    """A space of plain stores, correct or broken."""

    def __init__(self, store: type[PlainStore], clock: Clock | None) -> None:
        self._store = store
        self._clock = clock
        self._storage = Storage()

    def store(self, env: str) -> PlainStore:
        """Return another instance on the same tasks."""
        return self._store(env, clock=self._clock, storage=self._storage)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return the records as they are kept."""
        return [as_raw(task) for (of_env, _), task in self._storage.tasks.items() if of_env == env]

    async def spoil(self, env: str, task_id: str) -> None:
        """Make a record unreadable."""
        self._storage.spoiled.add((env, task_id))


class PlainHarness:
    """Binds one class of plain stores to the suite."""

    def __init__(self, store: type[PlainStore]) -> None:
        self._store = store

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected, repeats may come at once, keys have seats, and records can be damaged."""
        return frozenset({INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[PlainSpace]:
        """Return a new empty space."""
        yield PlainSpace(self._store, clock)
