"""The memory store."""

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from oncetask_core.claims import Claim, Slots, claim_order, leased
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
from oncetask_core.seats import seat_order, successors
from oncetask_core.store import Claimed, ControlRecord, Found, HeldLease, Renewed
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Transition, Verdict, applied, judge
from oncetask_memory.shelf import Key, Shelf, key_of

Task = OnceTask[object]


class Space:
    """What every store instance on it shares: the tasks of all environments, one counter, one clock, one lock."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = SystemClock() if clock is None else clock
        self.lock = threading.RLock()
        self.shelves: defaultdict[str, Shelf] = defaultdict(Shelf)
        self.records: dict[tuple[str, str], ControlRecord] = {}
        self.count = 0
        self._latest: datetime | None = None

    def number(self) -> int:
        """Return the next number: sequences, epochs and revisions of control records rise store-wide."""
        self.count += 1
        return self.count

    def now(self) -> datetime:
        """Return the time, which never runs backwards."""
        reading = self.clock.now()
        with self.lock:
            self._latest = reading if self._latest is None else max(reading, self._latest)
            return self._latest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a space held at one moment."""

    tasks: Mapping[str, Sequence[Task]]
    records: Mapping[tuple[str, str], ControlRecord] = field(default_factory=dict)


class MemoryStore:
    """Keeps the tasks of one environment in this process; usable from any thread and event loop.

    Args:
        env: The environment.
        clock: What time is read from; by default the host's clock.
        space: Another store's `space`, to share its tasks; it brings its clock.
    """

    capabilities = frozenset({"injected_clock"})

    def __init__(self, *, env: str = "DEFAULT", clock: Clock | None = None, space: Space | None = None) -> None:
        self.env = env
        self.space = Space(clock) if space is None else space

    @property
    def _shelf(self) -> Shelf:
        return self.space.shelves[self.env]

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Do nothing: the tasks stay until the store is forgotten."""

    async def migrate(self) -> None:
        """Do nothing: there is no schema."""

    async def now(self) -> datetime:
        """Return the store's time."""
        return self.space.now()

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown."""
        with self.space.lock:
            now = self.space.now()
            answers = [self._insert(new, now) for new in tasks]
            self._seat((new.kind, new.resource_key) for new in tasks if new.resource_key is not None)
            return answers

    def _insert(self, new: NewTask, now: datetime) -> Inserted:
        found = self._shelf.tasks.get(new.id)
        if found is not None:
            return Inserted(id=new.id, created=False, kind=found.kind, created_by=found.created_by)
        self._shelf.put(born(new, env=self.env, now=now, sequence=self.space.number()))
        return Inserted(id=new.id, created=True, kind=new.kind, created_by=new.created_by)

    def _seat(self, keys: Iterable[Key]) -> None:
        for key in set(keys):
            self._shelf.seat(key)

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        with self.space.lock:
            tasks = self._shelf.tasks
            return Found(tasks={task_id: tasks[task_id] for task_id in ids if task_id in tasks})

    def _matching(self, where: TaskFilter) -> list[Task]:
        now = self.space.now()
        tasks = self._shelf.tasks
        if where.ids is not None:
            return [tasks[i] for i in where.ids if i in tasks and matches(where, tasks[i], now)]
        return [task for task in tasks.values() if matches(where, task, now)]

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match."""
        check_query(query)
        newest = query.order is TaskOrder.NEWEST
        with self.space.lock:
            found = self._matching(query.where)
        if query.cursor is not None:
            after = read_cursor(query.cursor, query.order)
            found = [task for task in found if (task.sequence < after if newest else task.sequence > after)]
        found.sort(key=lambda task: task.sequence, reverse=newest)
        page = found[: query.limit]
        return Page(tasks=page, cursor=cursor_after(page[-1], query.order) if len(found) > len(page) else None)

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match."""
        with self.space.lock:
            return len(self._matching(where))

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks."""
        with self.space.lock:
            now = self.space.now()
            held = self._shelf.held_by(claim.lease_uid)
            if held:
                return Claimed(tasks=sorted(held, key=lambda task: task.epoch), now=now)
            granted = []
            for task in self._chosen(claim, now):
                granted.append(leased(task, claim, now=now, epoch=self.space.number()))
                self._shelf.put(granted[-1])
            times = [self._shelf.next_due(kind, now) for kind in claim.slots]
            return Claimed(tasks=granted, now=now, next_due=min((t for t in times if t is not None), default=None))

    def _chosen(self, claim: Claim, now: datetime) -> list[Task]:
        if claim.suspects:
            first = [task for kind in claim.slots for task in islice(self._shelf.ready(kind, now, suspects=True), 1)]
            return sorted(first, key=claim_order)[:1]
        taken: list[Task] = []
        for kind, slots in claim.slots.items():
            for head in list(islice(self._shelf.ready(kind, now, suspects=False), slots.limit)):
                taken.append(head)
                taken.extend(self._group(head, slots, now))
        return taken

    def _group(self, head: Task, slots: Slots, now: datetime) -> Sequence[Task]:
        key = key_of(head)
        if key is None or slots.group <= 1:
            return ()
        of_key = sorted(self._shelf.of_key(key), key=seat_order)
        return successors(head, of_key, now=now, limit=slots.group - 1)

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold."""
        with self.space.lock:
            now = self.space.now()
            keys: set[Key] = set()
            answers = [self._apply(atom, now, keys) for atom in atoms]
            self._seat(keys)
            return answers

    def _apply(self, atom: Atom, now: datetime, keys: set[Key]) -> Answer:
        """Apply an atom, or leave everything as it was."""
        before = {step.guard.id: self._shelf.tasks.get(step.guard.id) for step in atom.transitions}
        try:
            refusals = [answer for step in atom.transitions if (answer := self._step(step, now, keys)) is not None]
        except (OverflowError, ValueError) as error:
            self._restore(before)
            return Answer(verdict=Verdict.BROKEN, error=StoreError(f"the change cannot be stored: {error}"))
        if not refusals:
            inserted = tuple(self._insert(new, now) for new in atom.inserts)
            keys |= {(new.kind, new.resource_key) for new in atom.inserts if new.resource_key is not None}
            return Answer(verdict=Verdict.APPLIED, inserted=inserted)
        self._restore(before)
        if all(answer.verdict is Verdict.ALREADY for answer in refusals):
            whole = len(refusals) == len(atom.transitions)
            return refusals[0] if whole else Answer(verdict=Verdict.CHANGED, task=refusals[0].task)
        return next(answer for answer in refusals if answer.verdict is not Verdict.ALREADY)

    def _step(self, step: Transition, now: datetime, keys: set[Key]) -> Answer | None:
        task = self._shelf.tasks.get(step.guard.id)
        verdict = judge(step.guard, task, now)
        if task is None or verdict is not Verdict.APPLIED:
            return Answer(verdict=verdict, task=task)
        self._shelf.put(applied(task, step, now))
        key = key_of(task)
        if key is not None:
            keys.add(key)
        return None

    def _restore(self, before: Mapping[str, Task | None]) -> None:
        for task in before.values():
            if task is not None:
                self._shelf.put(task)

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the leases hold."""
        with self.space.lock:
            now = self.space.now()
            held = [task for uid in leases for task in self._shelf.held_by(uid)]
            for task in held:
                extension = leases[task.lease_uid or ""]
                if extension is not None:
                    until = max(task.leased_until or now, now + extension)
                    self._shelf.put(msgspec.structs.replace(task, leased_until=until))
            return Renewed(held=[_held(task) for task in held], now=now)

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        with self.space.lock:
            now = self.space.now()
            return [self._delete(guard, now) for guard in guards]

    def _delete(self, guard: Guard, now: datetime) -> Verdict:
        task = self._shelf.tasks.get(guard.id)
        verdict = judge(guard, task, now)
        if task is not None and verdict is Verdict.APPLIED:
            self._shelf.remove(task)
            key = key_of(task)
            if key is not None:
                self._shelf.seat(key)
        return verdict

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`."""
        with self.space.lock:
            return {
                name: record
                for (env, name), record in self.space.records.items()
                if env == self.env and name.startswith(prefix)
            }

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write or remove a control record."""
        with self.space.lock:
            known = self.space.records.get((self.env, name))
            if if_revision is not None and if_revision != (0 if known is None else known.revision):
                return False
            self.space.records.pop((self.env, name), None)
            if value is not None:
                record = ControlRecord(name=name, value=value, revision=self.space.number())
                self.space.records[self.env, name] = record
            return True

    def snapshot(self) -> Snapshot:
        """Return everything that the space holds now, of all environments."""
        with self.space.lock:
            tasks = {env: list(shelf.tasks.values()) for env, shelf in self.space.shelves.items()}
            return Snapshot(tasks, dict(self.space.records))

    def restore(self, snapshot: Snapshot) -> None:
        """Make the space hold what it held at the snapshot; numbers go on rising."""
        with self.space.lock:
            self.space.shelves.clear()
            for env, tasks in snapshot.tasks.items():
                for task in tasks:
                    self.space.shelves[env].put(task)
            self.space.records = dict(snapshot.records)


def _held(task: Task) -> HeldLease:
    return HeldLease(
        id=task.id, run_uid=task.run_uid, lease_uid=task.lease_uid or "", cancel_requested=task.is_cancelled
    )
