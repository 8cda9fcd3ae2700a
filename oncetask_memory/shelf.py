"""The tasks of one environment, with the indexes that make claims independent of how many there are.

Heaps hold entries that may be out of date: an entry counts only while the task still is what the entry says. History
stands in no index, so that finished tasks cost nothing.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

import msgspec

from oncetask_core.claims import is_claimable
from oncetask_core.seats import contends, rightful_head, seat_order
from oncetask_core.task import OnceTask

Task = OnceTask[object]
Key = tuple[str, str]
Entry = tuple[datetime, int, str]


class Shelf:
    """Every task of one environment, by id, and indexes over those that have not ended."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self._ready: defaultdict[tuple[str, bool], list[Entry]] = defaultdict(list)
        self._waiting: defaultdict[str, list[Entry]] = defaultdict(list)
        self._by_lease: defaultdict[str, set[str]] = defaultdict(set)
        self._leased_of_key: defaultdict[Key, set[str]] = defaultdict(set)
        self._seated: dict[Key, str] = {}
        self._contenders: defaultdict[Key, list[Entry]] = defaultdict(list)

    def put(self, task: Task) -> None:
        """Store a record over the one with its id, if there is one."""
        old = self.tasks.get(task.id)
        if old is not None:
            self._forget(old)
        self.tasks[task.id] = task
        if task.is_live:
            self._note(task)

    def remove(self, task: Task) -> None:
        """Remove a record."""
        self._forget(task)
        del self.tasks[task.id]

    def _forget(self, task: Task) -> None:
        if task.lease_uid is not None:
            self._by_lease[task.lease_uid].discard(task.id)
            if not self._by_lease[task.lease_uid]:
                del self._by_lease[task.lease_uid]
        key = key_of(task)
        if key is not None:
            self._leased_of_key[key].discard(task.id)
            if self._seated.get(key) == task.id:
                del self._seated[key]

    def _note(self, task: Task) -> None:
        if task.lease_uid is not None:
            self._by_lease[task.lease_uid].add(task.id)
        else:
            heapq.heappush(self._waiting[task.kind], (task.wait_until, task.sequence, task.id))
        key = key_of(task)
        if key is None or not contends(task):
            return
        if task.lease_uid is not None:
            self._leased_of_key[key].add(task.id)
        else:
            heapq.heappush(self._contenders[key], (*seat_order(task), task.id))
            if task.head_key is not None:
                self._seated[key] = task.id

    def held_by(self, lease_uid: str) -> list[Task]:
        """Return the tasks that a lease holds."""
        return [self.tasks[task_id] for task_id in self._by_lease.get(lease_uid, ())]

    def ready(self, kind: str, now: datetime, *, suspects: bool) -> Iterator[Task]:
        """Yield the claimable tasks of a kind in claim order; those that are not taken stay."""
        self._move_due(kind, now)
        heap = self._ready[kind, suspects]
        kept: list[Entry] = []
        seen: set[str] = set()
        try:
            while heap:
                entry = heapq.heappop(heap)
                task = self.tasks.get(entry[2])
                if task is None or task.id in seen or entry != claim_entry(task):
                    continue
                if task.is_suspect is suspects and is_claimable(task, now):
                    seen.add(task.id)
                    kept.append(entry)
                    yield task
        finally:
            for entry in kept:
                heapq.heappush(heap, entry)

    def _move_due(self, kind: str, now: datetime) -> None:
        """Move what has become due to the heap of what is ready."""
        heap = self._waiting[kind]
        while heap and heap[0][0] <= now:
            wait_until, _, task_id = heapq.heappop(heap)
            task = self.tasks.get(task_id)
            current = task is not None and task.wait_until == wait_until and task.lease_uid is None and task.is_live
            if task is not None and current and not task.is_generator:
                heapq.heappush(self._ready[kind, task.is_suspect], claim_entry(task))

    def next_due(self, kind: str, now: datetime) -> datetime | None:
        """Return the earliest time after `now` at which an unleased task or generator of a kind becomes due."""
        self._move_due(kind, now)
        heap = self._waiting[kind]
        while heap:
            wait_until, _, task_id = heap[0]
            task = self.tasks.get(task_id)
            if task is not None and task.is_live and task.lease_uid is None and task.wait_until == wait_until:
                return wait_until
            heapq.heappop(heap)
        return None

    def of_key(self, key: Key) -> list[Task]:
        """Return the unleased tasks that contend for a key, in the order of their seats."""
        found = {entry[2] for entry in self._contenders[key]}
        tasks = (self.tasks.get(task_id) for task_id in found)
        return [task for task in tasks if task is not None and key_of(task) == key and contends(task)]

    def seat(self, key: Key) -> None:
        """Give the seat of a key to its rightful head."""
        rightful = None if self._leased_of_key[key] else self._first(key)
        seated = self._seated.get(key)
        if (
            seated is not None
            and (rightful is None or seated != rightful.id)
            and seated not in self._leased_of_key[key]
        ):
            self.put(msgspec.structs.replace(self.tasks[seated], head_key=None))
        if rightful is not None and seated != rightful.id:
            self.put(msgspec.structs.replace(rightful, head_key=rightful.resource_key))

    def _first(self, key: Key) -> Task | None:
        heap = self._contenders[key]
        while heap:
            task = self.tasks.get(heap[0][2])
            current = task is not None and task.lease_uid is None and contends(task) and key_of(task) == key
            if task is not None and current and (*seat_order(task), task.id) == heap[0]:
                return rightful_head([task])
            heapq.heappop(heap)
        return None


def key_of(task: Task) -> Key | None:
    """Return the key that a task may contend for."""
    return None if task.resource_key is None else (task.kind, task.resource_key)


def claim_entry(task: Task) -> Entry:
    """Return a task's entry in the order of claims."""
    return (task.order_at, task.sequence, task.id)
