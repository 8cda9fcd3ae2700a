"""What happened, from the store and from the ledger, and whether any promise was broken."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from examples.index_files.ledger import Entry
from oncetask import OnceTask, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this run of the example asked for."""

    created: Collection[str]
    """The ids of all tasks that must have ended now, those of earlier runs included."""
    cancelled: Collection[str]
    """The ids that must have ended as cancelled."""
    killed_pid: int
    leased_at_kill: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures, and every violation in words."""

    tasks: int
    runs: int
    retried: int
    rerun_elsewhere: int
    completed: int
    unacknowledged: int
    settled_twice: int
    lost: int
    violations: Sequence[str] = field(default=())


def judge(tasks: Sequence[OnceTask[object]], entries: Sequence[Entry], expected: Expected) -> Verdict:
    """Compare what the store says with what the handlers did."""
    by_id = {task.id: task for task in tasks}
    accepted = Counter((entry.task, entry.run) for entry in entries if entry.event == "accepted")
    twice = sorted(task for (task, _), count in accepted.items() if count > 1)
    lost = sorted(task_id for task_id in expected.created if task_id not in by_id or by_id[task_id].is_live)
    ended = {(entry.task, entry.run) for entry in entries if entry.event == "end"}
    never_run = sorted(_completed_without_end(tasks, ended))
    not_cancelled = sorted(task for task in expected.cancelled if _outcome(by_id.get(task)) is not Outcome.CANCELLED)
    failed = sorted(task.id for task in tasks if task.outcome is Outcome.FAILED)
    return Verdict(
        tasks=len(tasks),
        runs=sum(entry.event == "start" for entry in entries),
        retried=sum(task.failures for task in tasks),
        rerun_elsewhere=len(_rerun_elsewhere(entries, expected)),
        completed=sum(task.outcome is Outcome.COMPLETED for task in tasks),
        unacknowledged=len(ended - accepted.keys()),
        settled_twice=len(twice),
        lost=len(lost),
        violations=[
            *(f"settled twice: {task}" for task in twice),
            *(f"lost: {task}" for task in lost),
            *(f"completed though its handler never ended: {task}" for task in never_run),
            *(f"not cancelled: {task}" for task in not_cancelled),
            *(f"failed: {task}" for task in failed),
        ],
    )


def _outcome(task: OnceTask[object] | None) -> Outcome | None:
    return None if task is None else task.outcome


def _completed_without_end(tasks: Sequence[OnceTask[object]], ended: Collection[tuple[str, str]]) -> list[str]:
    """Return the completed tasks whose run the ledger does not know to have ended; generators have no handler."""
    return [
        task.id
        for task in tasks
        if task.outcome is Outcome.COMPLETED and not task.is_generator and (task.id, task.run_uid) not in ended
    ]


def _rerun_elsewhere(entries: Sequence[Entry], expected: Expected) -> set[str]:
    """Return the tasks that the killed process held and that another process ran afterwards."""
    others = {entry.task for entry in entries if entry.event == "start" and entry.pid != expected.killed_pid}
    return others & set(expected.leased_at_kill)
