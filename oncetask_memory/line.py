"""Who stands in line for one resource key."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from datetime import datetime

from oncetask_core.seats import contends, rightful_head, seat_order, successors
from oncetask_core.task import OnceTask

Task = OnceTask[object]
Entry = tuple[datetime, int, str]


class Line:
    """The tasks of one key that a decision about its seat needs, so that the rest need not be looked at.

    Attributes:
        seated: The unleased tasks that have the seat, rightfully or not.
    """

    def __init__(self) -> None:
        self.seated: set[str] = set()
        self._leased: set[str] = set()
        self._unleased: list[Entry] = []
        """What contends for the seat, in seat order."""

    def __bool__(self) -> bool:
        """Say whether anybody is in line."""
        return bool(self.seated or self._leased or self._unleased)

    def add(self, task: Task) -> None:
        """Enter a record."""
        if task.head_key is not None and task.lease_uid is None:
            self.seated.add(task.id)
        if not contends(task):
            return
        if task.lease_uid is not None:
            self._leased.add(task.id)
        else:
            insort(self._unleased, _entry(task))

    def drop(self, task: Task) -> None:
        """Forget a record that was entered."""
        self.seated.discard(task.id)
        self._leased.discard(task.id)
        if contends(task) and task.lease_uid is None:
            del self._unleased[bisect_left(self._unleased, _entry(task))]

    def head(self, tasks: Mapping[str, Task]) -> Task | None:
        """Return the task that the seat belongs to; the first of the unleased stands for all of them."""
        first = [entry[2] for entry in self._unleased[:1]]
        return rightful_head(tasks[task_id] for task_id in (*self._leased, *first))

    def followers(self, head: Task, tasks: Mapping[str, Task], *, now: datetime, limit: int) -> list[Task]:
        """Return the tasks that join the group of a head that is being claimed."""
        return list(successors(head, self._nearest(tasks, now=now, count=limit + 1), now=now, limit=limit))

    def _nearest(self, tasks: Mapping[str, Task], *, now: datetime, count: int) -> Iterator[Task]:
        """Yield enough of the unleased tasks: `count` that may run beside others, or all before the first not due.

        Behind that one no group goes on: in a strict order it stops the group, in any other nobody behind it is due.
        """
        for entry in self._unleased:
            task = tasks[entry[2]]
            yield task
            count -= not task.is_suspect
            if count <= 0 or task.wait_until > now:
                return


def _entry(task: Task) -> Entry:
    return (*seat_order(task), task.id)
