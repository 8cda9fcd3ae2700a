"""The functions under test as one value, so that a negative control can replace a single one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec

from oncetask_core import claims, decisions, seats, transition
from oncetask_core.claims import Claim
from oncetask_core.decisions import KindRules, Report
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Guard, Transition, Verdict

Task = OnceTask[object]
Rows = Sequence[Task]


def expired(task: Task, rules: KindRules, now: datetime) -> Transition:
    """Decide the end of a lease that ran out; chance plays no part here."""
    return decisions.expire(task, rules, at=now, chance=0.0)


def concluded(task: Task, report: Report, rules: KindRules) -> Transition:
    """Decide what a report does; chance plays no part here."""
    return decisions.conclude(task, report, rules, chance=0.0)


class Moment(NamedTuple):
    """When a store writes, and the number that it gives: an epoch to a grant, a sequence to a task."""

    now: datetime
    number: int


def granted(task: Task, claim: Claim, moment: Moment) -> Task:
    """Lease one task."""
    return claims.leased(task, claim, now=moment.now, epoch=moment.number)


def cancelled(task: Task, rules: KindRules) -> Transition | None:
    """Decide a request to cancel, by somebody who knows whether the kind has a clean-up."""
    return decisions.cancel(task, has_cleanup=rules.has_cleanup)


def restarted(task: Task, run_uid: str) -> Transition:
    """Decide a reset."""
    return decisions.reset(task, run_uid=run_uid)


def renewed(task: Task, until: datetime) -> Task:
    """Extend one lease, as the port says: nothing else changes."""
    return msgspec.structs.replace(task, leased_until=until)


def inserted(new: NewTask, existing: Task | None, moment: Moment) -> Task:
    """Insert one task, as the port says: an id that exists is left untouched."""
    return born(new, env="TEST", now=moment.now, sequence=moment.number) if existing is None else existing


def held(claim: Claim, rows: Rows) -> Rows:
    """Return what a repeated claim returns: what its lease holds already."""
    return [task for task in rows if task.lease_uid == claim.lease_uid]


def seated(rows: Rows, head: Task | None, key: str) -> list[Task]:
    """Clear every seat of an unleased task that is not the head's, then seat the head."""
    return [_seated(task, key if head is not None and task.id == head.id else None) for task in rows]


def _seated(task: Task, seat: str | None) -> Task:
    if task.lease_uid is not None or not task.is_live or task.head_key == seat:
        return task
    return msgspec.structs.replace(task, head_key=seat)


@dataclass(frozen=True, kw_only=True)
class Core:
    """Every rule that a store or a worker applies; by default the real ones."""

    judge: Callable[[Guard, Task | None, datetime], Verdict] = transition.judge
    applied: Callable[[Task, Transition, datetime], Task] = transition.applied
    chosen: Callable[[Claim, Rows, datetime], Rows] = claims.chosen
    granted: Callable[[Task, Claim, Moment], Task] = granted
    held: Callable[[Claim, Rows], Rows] = held
    rightful_head: Callable[[Rows], Task | None] = seats.rightful_head
    seated: Callable[[Rows, Task | None, str], list[Task]] = seated
    concluded: Callable[[Task, Report, KindRules], Transition] = concluded
    expired: Callable[[Task, KindRules, datetime], Transition] = expired
    cancelled: Callable[[Task, KindRules], Transition | None] = cancelled
    restarted: Callable[[Task, str], Transition] = restarted
    renewed: Callable[[Task, datetime], Task] = renewed
    inserted: Callable[[NewTask, Task | None, Moment], Task] = inserted
