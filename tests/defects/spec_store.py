"""A store that consists of the executable specification and of nothing else: slow, short, easy to break on purpose."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from oncetask import Page, TaskFilter, TaskOrder, VirtualClock
from oncetask_core.claims import Claim, chosen, claim_order, leased, next_due
from oncetask_core.query import TaskQuery, cursor_after, matches, read_cursor
from oncetask_core.seats import rightful_head
from oncetask_core.store import Claimed, ControlRecord, Found, HeldLease, Renewed
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Transition, Verdict, applied, judge


class SpecStore:
    """The specification as a store. Its methods are the places where defects are planted."""

    capabilities = frozenset({"injected_clock"})

    def __init__(self, *, env: str = "DEFAULT", clock: VirtualClock) -> None:
        self.env = env
        self.clock = clock
        self.tasks: dict[str, OnceTask[object]] = {}
        self.controls: dict[str, ControlRecord] = {}
        self.numbers = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def time(self) -> datetime:
        return self.clock.now()

    def judged(self, guard: Guard) -> Verdict:
        return judge(guard, self.tasks.get(guard.id), self.time())

    def written(self, transition: Transition) -> OnceTask[object]:
        return applied(self.tasks[transition.guard.id], transition, self.time())

    def selected(self, claim: Claim) -> list[OnceTask[object]]:
        return chosen(claim, list(self.tasks.values()), self.time())

    def seat(self) -> None:
        for key in {(task.kind, task.resource_key) for task in self.tasks.values() if task.resource_key}:
            of_key = [task for task in self.tasks.values() if (task.kind, task.resource_key) == key]
            head = rightful_head(of_key)
            for task in of_key:
                wanted = key[1] if head is not None and task.id == head.id else None
                if task.lease_uid is None and task.head_key != wanted:
                    self.tasks[task.id] = msgspec.structs.replace(task, head_key=wanted)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def migrate(self) -> None: ...

    async def now(self) -> datetime:
        return self.time()

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        answers = [self._insert(new) for new in tasks]
        self.seat()
        return answers

    def _insert(self, new: NewTask) -> Inserted:
        existing = self.tasks.get(new.id)
        if existing is None:
            self.tasks[new.id] = born(new, env=self.env, now=self.time(), sequence=self.number())
        found = self.tasks[new.id]
        return Inserted(id=new.id, created=existing is None, kind=found.kind, created_by=found.created_by)

    async def get(self, ids: Collection[str]) -> Found:
        return Found(tasks={task_id: self.tasks[task_id] for task_id in ids if task_id in self.tasks})

    def _matching(self, where: TaskFilter) -> Iterable[OnceTask[object]]:
        return (task for task in self.tasks.values() if matches(where, task, self.time()))

    async def find(self, query: TaskQuery) -> Page:
        newest = query.order is TaskOrder.NEWEST
        rows = sorted(self._matching(query.where), key=lambda task: task.sequence, reverse=newest)
        if query.cursor is not None:
            after = read_cursor(query.cursor, query.order)
            rows = [task for task in rows if (task.sequence < after if newest else task.sequence > after)]
        page = rows[: query.limit]
        return Page(tasks=page, cursor=cursor_after(page[-1], query.order) if len(rows) > len(page) else None)

    async def count(self, where: TaskFilter) -> int:
        return sum(1 for _ in self._matching(where))

    async def claim(self, claim: Claim) -> Claimed:
        held = [task for task in self.tasks.values() if task.lease_uid == claim.lease_uid]
        if held:
            return Claimed(tasks=sorted(held, key=claim_order), now=self.time())
        granted = [leased(task, claim, now=self.time(), epoch=self.number()) for task in self.selected(claim)]
        self.tasks |= {task.id: task for task in granted}
        due = next_due(self.tasks.values(), claim.slots, self.time())
        return Claimed(tasks=granted, now=self.time(), next_due=due)

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        answers = [self._apply(atom) for atom in atoms]
        self.seat()
        return answers

    def _apply(self, atom: Atom) -> Answer:
        for transition in atom.transitions:
            verdict = self.judged(transition.guard)
            if verdict is not Verdict.APPLIED:
                return Answer(verdict=verdict, task=self.tasks.get(transition.guard.id))
        self.tasks |= {transition.guard.id: self.written(transition) for transition in atom.transitions}
        return Answer(verdict=Verdict.APPLIED, inserted=tuple(self._insert(new) for new in atom.inserts))

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        held = [task for task in self.tasks.values() if task.lease_uid in leases]
        for task in held:
            extension = leases[task.lease_uid or ""]
            if extension is not None and task.leased_until is not None:
                until = max(task.leased_until, self.time() + extension)
                self.tasks[task.id] = msgspec.structs.replace(task, leased_until=until)
        reports = [
            HeldLease(
                id=task.id, run_uid=task.run_uid, lease_uid=task.lease_uid or "", cancel_requested=task.is_cancelled
            )
            for task in held
        ]
        return Renewed(held=reports, now=self.time())

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        verdicts = []
        for guard in guards:
            verdicts.append(self.judged(guard))
            if verdicts[-1] is Verdict.APPLIED:
                del self.tasks[guard.id]
        self.seat()
        return verdicts

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        return {name: record for name, record in self.controls.items() if name.startswith(prefix)}

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        known = self.controls.get(name)
        if if_revision is not None and if_revision != (0 if known is None else known.revision):
            return False
        self.controls.pop(name, None)
        if value is not None:
            self.controls[name] = ControlRecord(name=name, value=value, revision=self.number())
        return True
