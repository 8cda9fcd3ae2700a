"""A memory store in virtual time, driven without an event loop: none of its calls ever waits."""

from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import Failure, KindRules, Report, Success, conclude
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.recurrence import Recurrence
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Transition, Verdict
from oncetask_memory import MemoryStore

T = TypeVar("T")
Task = OnceTask[object]
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
RULES = KindRules(
    retry_policy=FixedDelayPolicy(delay=10, max_attempts=3),
    cleanup_policy=FixedDelayPolicy(delay=5, max_attempts=2),
    has_cleanup=True,
)
DONE = Success("1")


def result_of(call: Coroutine[object, object, T]) -> T:
    """Return what a call of the store returns; it must not wait for anything."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    call.close()
    raise AssertionError("the store waited for something")


def a_task(task_id: str = "a", **fields: Any) -> NewTask:
    """Return a task to insert, due at once."""
    defaults = {"kind": "letter", "payload": "{}", "run_uid": f"run of {task_id}", "created_by": "call"}
    return NewTask(id=task_id, **(defaults | fields))


def a_rule(clock: VirtualClock) -> Recurrence:
    """Return a rule; what it says does not matter to a store."""
    return Recurrence(rrule="FREQ=DAILY", dtstart=clock.now())


def a_failure(clock: VirtualClock) -> Failure:
    """Return the report of an attempt that failed now."""
    return Failure(error=RuntimeError("no such street"), text="no such street", at=clock.now())


def a_claim(lease_uid: str = "lease 1", *, limit: int = 10, group: int = 1, suspects: bool = False) -> Claim:
    """Return a claim of letters for a minute."""
    return slots_claim(lease_uid, {"letter": Slots(limit, group)}, suspects=suspects)


def slots_claim(lease_uid: str, slots: Mapping[str, Slots], *, suspects: bool = False) -> Claim:
    """Return a claim of several kinds for a minute."""
    return Claim(lease_uid=lease_uid, leased_by="worker", lease_for=60 * SECOND, slots=slots, suspects=suspects)


class World:
    """One store and its clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)

    def add(self, *tasks: NewTask) -> None:
        """Insert the tasks in one call."""
        result_of(self.store.insert(tasks))

    def everything(self) -> dict[str, Task]:
        """Return every task by id, in the order of creation, read around the store's methods."""
        return dict(self.store.space.shelves[self.store.env].tasks)

    def claim(self, lease_uid: str = "lease 1", *, limit: int = 10, group: int = 1) -> list[Task]:
        """Claim letters, and return what was granted."""
        return list(result_of(self.store.claim(a_claim(lease_uid, limit=limit, group=group))).tasks)

    def apply(self, *atoms: Atom) -> list[Answer]:
        """Apply the atoms in one call."""
        return list(result_of(self.store.apply(atoms)))

    def submit(self, *transitions: Transition) -> list[Verdict]:
        """Apply the transitions in one call, each an atom of its own."""
        return [answer.verdict for answer in self.apply(*(Atom((one,)) for one in transitions))]

    def settle(self, *tasks: Task, report: Report = DONE) -> list[Verdict]:
        """Settle tasks that were claimed, in one call."""
        return self.submit(*(conclude(task, report, RULES, chance=0.0) for task in tasks))

    def found(self, where: TaskFilter) -> list[str]:
        """Return the ids of what matches, at most a thousand."""
        return [task.id for task in result_of(self.store.find(TaskQuery(where=where, limit=1000)))]

    def seated(self) -> set[str]:
        """Return the unleased tasks that have the seat of their key."""
        return {task.id for task in self.everything().values() if task.head_key and task.lease_uid is None}
