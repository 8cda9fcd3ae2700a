"""What happened, from the store and from the ledger, and whether any promise was broken.

The store names the lease that settled a task; the ledger knows which process ran under that lease and whether it heard
that the settle was accepted. Who was killed is excused, and for one thing alone: for having settled a task without
living long enough to note so.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from examples.index_files.ledger import Entry
from examples.index_files.tasks import FAILURES_BEFORE_SUCCESS, HEARTBEATS
from oncetask import OnceTask, Outcome

Lease = tuple[str, str, str]
"""A task, its run and a lease: what one process held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this run of the example asked for."""

    created: Collection[str]
    """The ids of all tasks that must have ended now, those of earlier runs included."""
    earlier: Collection[str]
    """The ids of the tasks that had ended before this run began: its ledger need not know them."""
    cancelled: Collection[str]
    """The ids that must have ended as cancelled, after their clean-up; no other may."""
    flaky: Collection[str]
    """The ids that must have failed twice before they completed."""
    recurring: Collection[str]
    """The ids of the generators that must have made all their occurrences."""
    killed_pids: Collection[int]
    leased_at_kill: Collection[str]
    """The ids of the tasks that a killed process held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures, and every violation in words."""

    tasks: int
    runs: int
    retried: int
    occurrences: int
    cleaned_up: int
    rerun_elsewhere: int
    completed: int
    unacknowledged: int
    settled_twice: int
    lost: int
    violations: Sequence[str] = field(default=())


class Ledgered:
    """What the ledger says, by lease.

    Attributes:
        starts: How often a handler was started in each run of a task.
        ended: Which process saw the handler end.
        accepted: The leases whose settle was accepted.
        unacknowledged: How many runs ended, and no process heard that a settle was accepted.
        settled_twice: The tasks of which one run was accepted more than once.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        accepted = Counter((entry.task, entry.run) for entry in entries if entry.event == "accepted")
        self.starts = Counter((entry.task, entry.run) for entry in entries if entry.event == "start")
        self.ended = {_lease(entry): entry.pid for entry in entries if entry.event == "end"}
        self.accepted = {_lease(entry) for entry in entries if entry.event == "accepted"}
        self.unacknowledged = len({(task, run) for task, run, _ in self.ended} - accepted.keys())
        self.settled_twice = {task for (task, _), count in accepted.items() if count > 1}


def judge(tasks: Sequence[OnceTask[object]], entries: Sequence[Entry], expected: Expected) -> Verdict:
    """Compare what the store says with what the handlers did."""
    ledger = Ledgered(entries)
    by_id = {task.id: task for task in tasks}
    occurrences = _occurrences(tasks, expected)
    broken = {
        "settled twice": ledger.settled_twice,
        "lost": {task_id for task_id in expected.created if task_id not in by_id or by_id[task_id].is_live},
        "failed": {task.id for task in tasks if task.outcome is Outcome.FAILED},
        **_unproved([task for task in tasks if task.id not in expected.earlier], ledger, expected),
        **_special(by_id, ledger, expected),
        f"did not make its {HEARTBEATS} occurrences": {
            task_id for task_id in expected.recurring if occurrences[task_id] != HEARTBEATS
        },
    }
    return Verdict(
        tasks=len(tasks),
        runs=ledger.starts.total(),
        retried=sum(task.failures for task in tasks),
        occurrences=occurrences.total(),
        cleaned_up=sum(_settling(by_id[task_id]) in ledger.ended for task_id in expected.cancelled if task_id in by_id),
        rerun_elsewhere=len(_rerun_elsewhere(by_id, ledger, expected)),
        completed=sum(task.outcome is Outcome.COMPLETED for task in tasks),
        unacknowledged=ledger.unacknowledged,
        settled_twice=len(ledger.settled_twice),
        lost=len(broken["lost"]),
        violations=[f"{what}: {task_id}" for what, task_ids in broken.items() for task_id in sorted(task_ids)],
    )


def _unproved(tasks: Iterable[OnceTask[object]], ledger: Ledgered, expected: Expected) -> Mapping[str, Collection[str]]:
    """Return the tasks of this run that have ended as the store says, and not as the ledger says.

    Generators have no handler. A settle of a killed process may lack its note, and only a settle that was on its way
    when the process was frozen can be that of a task which it held then: the process never heard of it.
    """
    settled = [
        task for task in tasks if not task.is_generator and task.outcome in (Outcome.COMPLETED, Outcome.CANCELLED)
    ]
    done = {task.id for task in settled if task.outcome is Outcome.COMPLETED}
    run_by = {task.id: ledger.ended[_settling(task)] for task in settled if _settling(task) in ledger.ended}
    by_killed = {task_id for task_id, pid in run_by.items() if pid in expected.killed_pids}
    noted = {task.id for task in settled if _settling(task) in ledger.accepted}
    return {
        "completed though its handler never ended": done - run_by.keys(),
        "ended though no settle was accepted": run_by.keys() - noted - by_killed,
        "held at the kill, yet its settle was accepted from the killed process": (by_killed & noted).intersection(
            expected.leased_at_kill
        ),
        "cancelled though nobody asked for it": {task.id for task in settled if task.id in expected.created}
        - done
        - set(expected.cancelled),
    }


def _special(
    by_id: Mapping[str, OnceTask[object]], ledger: Ledgered, expected: Expected
) -> Mapping[str, Collection[str]]:
    """Return the tasks that were to be cancelled or to be retried, and were not."""
    cancelled = {task_id for task_id in expected.cancelled if _outcome(by_id.get(task_id)) is Outcome.CANCELLED}
    flaky = [by_id[task_id] for task_id in expected.flaky if task_id in by_id]
    return {
        "not cancelled": set(expected.cancelled) - cancelled,
        "cancelled without its clean-up": {
            task_id for task_id in cancelled if _settling(by_id[task_id]) not in ledger.ended
        },
        f"did not fail {FAILURES_BEFORE_SUCCESS} times before it completed": {
            task.id
            for task in flaky
            if task.failures != FAILURES_BEFORE_SUCCESS
            or ledger.starts[task.id, task.run_uid] <= FAILURES_BEFORE_SUCCESS
        },
    }


def _lease(entry: Entry) -> Lease:
    return entry.task, entry.run, entry.lease


def _settling(task: OnceTask[object]) -> Lease:
    """Return the lease that the store took the end of the task from; none is the empty one, which no entry has."""
    return task.id, task.run_uid, task.settled_by[-1] if task.settled_by else ""


def _outcome(task: OnceTask[object] | None) -> Outcome | None:
    return None if task is None else task.outcome


def _occurrences(tasks: Sequence[OnceTask[object]], expected: Expected) -> Counter[str]:
    """Return how many occurrences of each of this run's generators were completed."""
    parents = [task.parent_recurrence_id for task in tasks if task.outcome is Outcome.COMPLETED]
    return Counter(parent for parent in parents if parent is not None and parent in expected.recurring)


def _rerun_elsewhere(by_id: Mapping[str, OnceTask[object]], ledger: Ledgered, expected: Expected) -> set[str]:
    """Return the tasks that a killed process held and that another process ran to their end."""
    held = {
        task_id: ledger.ended.get(_settling(by_id[task_id])) for task_id in expected.leased_at_kill if task_id in by_id
    }
    return {task_id for task_id, pid in held.items() if pid is not None and pid not in expected.killed_pids}
