"""When the tasks of one kind are up: what may be claimed now, and what becomes due later."""

import heapq
from collections.abc import Mapping
from datetime import datetime

from oncetask_core.claims import claim_order, is_claimable
from oncetask_core.task import OnceTask

Task = OnceTask[object]
Entry = tuple[datetime, int, str]
"""A time, the task's sequence, its id."""

_SLACK = 64


class Agenda:
    """The unleased tasks of one kind, the claimable ones in claim order, the waiting ones by time.

    An entry is not looked for when its task changes: it counts only while it is the task's latest, and goes when it
    comes up or when such entries become many. Tasks that wait for the seat of their key stand nowhere.

    Attributes:
        ready: A heap of what a claim may take.
        suspects: A heap of what only a claim for suspects may take.
        waiting: A heap of what becomes due later, generators included.
    """

    def __init__(self) -> None:
        self.ready: list[Entry] = []
        self.suspects: list[Entry] = []
        self.waiting: list[Entry] = []
        self._latest: dict[str, Entry] = {}

    def place(self, task: Task, now: datetime) -> None:
        """Enter a record that was written at `now`, in place of the one before it."""
        if not task.is_live or task.lease_uid is not None:
            self._latest.pop(task.id, None)
        elif task.wait_until > now:
            self._enter(self.waiting, (task.wait_until, task.sequence, task.id))
        elif is_claimable(task, now):
            self._enter(self.suspects if task.is_suspect else self.ready, (*claim_order(task), task.id))
        else:
            self._latest.pop(task.id, None)

    def _enter(self, heap: list[Entry], entry: Entry) -> None:
        self._latest[entry[2]] = entry
        heapq.heappush(heap, entry)
        if len(heap) > 2 * len(self._latest) + _SLACK:
            heap[:] = [one for one in heap if self._latest.get(one[2]) is one]
            heapq.heapify(heap)

    def remove(self, task: Task) -> None:
        """Forget a task that is deleted."""
        self._latest.pop(task.id, None)

    def first(self, heap: list[Entry]) -> Entry | None:
        """Return the first entry of one of the three heaps; it stays until its task changes."""
        while heap:
            if self._latest.get(heap[0][2]) is heap[0]:
                return heap[0]
            heapq.heappop(heap)
        return None

    def advance(self, tasks: Mapping[str, Task], now: datetime) -> None:
        """Move on to `now`: what has become due waits no longer."""
        while (entry := self.first(self.waiting)) is not None and entry[0] <= now:
            self.place(tasks[entry[2]], now)
