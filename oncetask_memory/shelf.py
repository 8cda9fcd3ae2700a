"""The tasks of one environment, with the indexes that make every call independent of how many there are.

Finished tasks stand in no index but that of their kind.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime

import msgspec

from oncetask_core.claims import claim_order
from oncetask_core.task import OnceTask
from oncetask_memory.agenda import Agenda
from oncetask_memory.line import Line

Task = OnceTask[object]
Key = tuple[str, str]
Ids = dict[str, None]
"""A set that keeps its order."""


class Shelf:
    """Every task of one environment.

    Attributes:
        tasks: The records by id, in the order of their creation.
        live: The ids of what has not ended.
        generators: Those of them that are generators.
        suspects: Those of them that a worker vanished with.
        of_kind: The ids of all tasks by kind.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.live: Ids = {}
        self.generators: Ids = {}
        self.suspects: Ids = {}
        self.of_kind: defaultdict[str, Ids] = defaultdict(dict)
        self._of_lease: defaultdict[str, Ids] = defaultdict(dict)
        self._agendas: defaultdict[str, Agenda] = defaultdict(Agenda)
        self._lines: defaultdict[Key, Line] = defaultdict(Line)
        self._touched: dict[Key, None] = {}

    def put(self, task: Task, now: datetime) -> None:
        """Store a record written at `now`, in place of the one with its id; its key is seated by `seat_touched`."""
        old = self.tasks.get(task.id)
        self.tasks[task.id] = task
        if old is None:
            self.of_kind[task.kind][task.id] = None
        if task.is_live:
            self._enlist(task)
        elif old is not None:
            self._strike(old)
        self._hold(None if old is None else old.lease_uid, task.lease_uid, task.id)
        self._agendas[task.kind].place(task, now)
        self._line_up(old, task)

    def remove(self, task: Task) -> None:
        """Remove a record; its key is seated by `seat_touched`."""
        del self.tasks[task.id]
        del self.of_kind[task.kind][task.id]
        self._strike(task)
        self._hold(task.lease_uid, None, task.id)
        self._agendas[task.kind].remove(task)
        self._line_up(task, None)

    def _enlist(self, task: Task) -> None:
        self.live[task.id] = None
        if task.is_generator:
            self.generators[task.id] = None
        if task.is_suspect:
            self.suspects[task.id] = None
        else:
            self.suspects.pop(task.id, None)

    def _strike(self, task: Task) -> None:
        self.live.pop(task.id, None)
        self.generators.pop(task.id, None)
        self.suspects.pop(task.id, None)

    def _hold(self, old: str | None, new: str | None, task_id: str) -> None:
        if old == new:
            return
        if old is not None:
            del self._of_lease[old][task_id]
            if not self._of_lease[old]:
                del self._of_lease[old]
        if new is not None:
            self._of_lease[new][task_id] = None

    def _line_up(self, old: Task | None, new: Task | None) -> None:
        for task in (old, new):
            if task is not None and task.resource_key is not None:
                self._touched[task.kind, task.resource_key] = None
        if old is not None and old.resource_key is not None:
            self._lines[old.kind, old.resource_key].drop(old)
        if new is not None and new.resource_key is not None:
            self._lines[new.kind, new.resource_key].add(new)

    def seat_touched(self, now: datetime) -> None:
        """Give the seat of every key that was written to whoever it belongs to now."""
        while self._touched:
            key, _ = self._touched.popitem()
            self._seat(self._lines[key], now)
            if not self._lines[key]:
                del self._lines[key]

    def _seat(self, line: Line, now: datetime) -> None:
        head = line.head(self.tasks)
        rightful = set() if head is None else {head.id}
        for task_id in line.seated - rightful:
            self._reseat(self.tasks[task_id], None, now)
        for task_id in rightful - line.seated:
            self._reseat(self.tasks[task_id], self.tasks[task_id].resource_key, now)
        line.seated = rightful

    def _reseat(self, task: Task, head_key: str | None, now: datetime) -> None:
        seated = self.tasks[task.id] = msgspec.structs.replace(task, head_key=head_key)
        self._agendas[task.kind].place(seated, now)

    def extend(self, task: Task, leased_until: datetime) -> None:
        """Move the end of a lease, on which no index depends."""
        self.tasks[task.id] = msgspec.structs.replace(task, leased_until=leased_until)

    def held_by(self, lease_uid: str) -> list[Task]:
        """Return the tasks that a lease holds."""
        return [self.tasks[task_id] for task_id in self._of_lease.get(lease_uid, ())]

    def held(self) -> Iterator[str]:
        """Yield the ids of all tasks that are leased."""
        for ids in self._of_lease.values():
            yield from ids

    def advance(self, kinds: Collection[str], now: datetime) -> None:
        """Move on to `now`: what has become due becomes claimable."""
        for kind in kinds:
            if kind in self._agendas:
                self._agendas[kind].advance(self.tasks, now)

    def first_ready(self, kind: str) -> Task | None:
        """Return the task of a kind that the next claim takes first; suspects apart."""
        agenda = self._agendas.get(kind)
        entry = None if agenda is None else agenda.first(agenda.ready)
        return None if entry is None else self.tasks[entry[2]]

    def first_suspect(self, kinds: Collection[str]) -> Task | None:
        """Return the suspect that the next claim for suspects takes."""
        agendas = [self._agendas[kind] for kind in kinds if kind in self._agendas]
        firsts = [entry for agenda in agendas if (entry := agenda.first(agenda.suspects)) is not None]
        return min((self.tasks[entry[2]] for entry in firsts), key=claim_order, default=None)

    def followers(self, head: Task, *, now: datetime, limit: int) -> list[Task]:
        """Return the tasks that are claimed together with a head, in order, at most `limit`."""
        if head.resource_key is None or limit <= 0:
            return []
        return self._lines[head.kind, head.resource_key].followers(head, self.tasks, now=now, limit=limit)

    def next_due(self, kinds: Collection[str]) -> datetime | None:
        """Return when the next of what waits becomes due."""
        agendas = [self._agendas[kind] for kind in kinds if kind in self._agendas]
        firsts = [entry for agenda in agendas if (entry := agenda.first(agenda.waiting)) is not None]
        return min((entry[0] for entry in firsts), default=None)
