"""What somebody does to a task that they have seen, and what becomes of it: the contract of `apply`, once more.

This is the half of the model that is about single tasks. It knows no guards, patches or decisions: whoever acts
has a copy of the row from when they looked, and from that copy and the row as it is now follows everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypedDict

from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask, StoreNow, TaskError, When
from oncetask_core.transition import Verdict

MINUTE = timedelta(minutes=1)
NO_DELAY = timedelta(0)


class Row(TypedDict):
    """One task: the fields that every store keeps, `epoch` and `sequence` being the model's own numbers."""

    id: str
    kind: str
    env: str
    payload: str
    run_uid: str
    created_by: str
    created_at: datetime
    wait_until: datetime
    order_at: datetime
    sequence: int
    resource_key: str | None
    strict_order: bool
    head_key: str | None
    queue: str
    priority: int
    headers: Mapping[str, str]
    lease_uid: str | None
    leased_by: str | None
    leased_until: datetime | None
    epoch: int
    in_cleanup: bool
    started_at: datetime | None
    revision: int
    settled_by: tuple[str, ...]
    claims: int
    failures: int
    crashes: int
    cleanup_attempts: int
    is_cancelled: bool
    cancelled_at: datetime | None
    done_at: datetime | None
    outcome: Outcome | None
    result: str | None
    errors: tuple[TaskError, ...]
    error_count: int
    progress: str | None
    recurrence: Recurrence | None
    slots_used: int
    parent_recurrence_id: str | None
    occurrence_timestamp: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """When tasks of a kind are tried again, spelt out."""

    delays: Sequence[timedelta]
    """How long to wait after the first, second, ... attempt; when there is none left, the task fails."""
    cleanup_delays: Sequence[timedelta] = ()
    has_cleanup: bool = False
    max_crashes: int = 0
    gives_up: bool = False
    """Whether an error of the fatal sort ends the task at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The holder of a lease ends it."""

    seen: Row
    how: Literal["succeed", "fail", "snooze", "release"]
    at: datetime
    result: str | None = None
    text: str = ""
    delay: timedelta | None = None
    final: bool = False
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The holder of a lease reports how far it is."""

    seen: Row
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Somebody ends a lease that ran out."""

    seen: Row
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Somebody asks that the task be not done."""

    seen: Row
    has_cleanup: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Somebody starts a finished task anew."""

    seen: Row
    run_uid: str
    slot: tuple[datetime, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """Somebody moves a task to another time."""

    seen: Row
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Somebody moves a generator on."""

    seen: Row
    fires: Sequence[datetime]
    slot: tuple[datetime, int] | None
    created_by: str
    run_uids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakOff:
    """Somebody ends a generator whose rule cannot be evaluated."""

    seen: Row
    text: str
    at: datetime


Deed = Settle | Progress | Expire | Cancel | Reset | Reschedule | Tick | BreakOff


def is_allowed(deed: Deed) -> bool:
    """Return whether the deed makes sense for the row that was seen; else the decision has to refuse it."""
    seen = deed.seen
    match deed:
        case Settle() | Progress() | Expire():
            return seen["lease_uid"] is not None
        case Cancel():
            return seen["outcome"] is None and not seen["is_cancelled"]
        case Reset():
            return seen["outcome"] is not None and (seen["recurrence"] is None or deed.slot is not None)
        case Reschedule():
            free = seen["lease_uid"] is None and not seen["is_cancelled"]
            return seen["outcome"] is None and free and seen["recurrence"] is None
        case Tick() | BreakOff():
            return True


def verdict_of(deed: Deed, row: Row | None, now: datetime) -> Verdict:
    """Return whether the deed may be written over the row that there is now."""
    if row is None:
        return Verdict.MISSING
    seen = deed.seen
    same_run, same_revision = row["run_uid"] == seen["run_uid"], row["revision"] == seen["revision"]
    if not isinstance(deed, Settle | Progress | Expire):
        return Verdict.APPLIED if same_run and same_revision else Verdict.CHANGED
    if not same_run:
        return Verdict.LEASE_LOST
    if row["lease_uid"] != seen["lease_uid"] or row["epoch"] != seen["epoch"]:
        was_settled = seen["lease_uid"] in row["settled_by"]
        return Verdict.ALREADY if was_settled and not isinstance(deed, Expire) else Verdict.LEASE_LOST
    if isinstance(deed, Progress):
        return Verdict.APPLIED
    still_running = row["leased_until"] is not None and row["leased_until"] > now
    if not same_revision or (isinstance(deed, Expire) and still_running):
        return Verdict.CHANGED
    return Verdict.APPLIED


def do(deed: Deed, row: Row, kind: Kind, *, now: datetime) -> None:
    """Change the row as the deed says."""
    match deed:
        case Settle():
            _settle(deed, row, kind, now=now)
        case Progress():
            row["progress"] = deed.text
        case Expire():
            _expire(deed, row, kind, now=now)
        case Cancel():
            _cancel(deed, row, now)
        case Reset():
            _reset(deed, row, now)
        case Reschedule():
            _move(row, now + deed.when.plus if isinstance(deed.when, StoreNow) else deed.when)
        case Tick():
            _tick(deed, row, now)
        case BreakOff():
            _record(row, deed.text, at=deed.at, attempt=1)
            _finish(row, Outcome.FAILED, now)
    if not isinstance(deed, Progress):
        row["revision"] += 1


def _settle(deed: Settle, row: Row, kind: Kind, *, now: datetime) -> None:
    row["settled_by"] = (*row["settled_by"], row["lease_uid"] or "")[-8:]
    _end_lease(row)
    if deed.how in {"snooze", "release"}:
        _give_back(deed, row, kind, now=now)
    elif row["in_cleanup"]:
        _settle_cleanup(deed, row, kind, now=now)
    elif deed.how == "fail":
        _fail(deed, row, kind, now=now)
    else:
        row["result"] = deed.result
        if row["is_cancelled"]:
            _clean_up(row, kind, now)
        else:
            _finish(row, Outcome.COMPLETED, now)


def _give_back(deed: Settle, row: Row, kind: Kind, *, now: datetime) -> None:
    if row["is_cancelled"] and not row["in_cleanup"]:
        _clean_up(row, kind, now)
    elif deed.how == "snooze":
        row["crashes"] = 0
        _move(row, now + (deed.delay or NO_DELAY))


def _settle_cleanup(deed: Settle, row: Row, kind: Kind, *, now: datetime) -> None:
    if deed.how == "succeed":
        if row["result"] is None:
            row["result"] = deed.result
        _finish(row, Outcome.CANCELLED, now)
        return
    row["cleanup_attempts"] += 1
    _record(row, deed.text, at=deed.at, attempt=row["cleanup_attempts"])
    delay = None if deed.final else _delay(kind.cleanup_delays, row["cleanup_attempts"])
    if delay is None:
        _finish(row, Outcome.CANCELLED, now)
    else:
        _move(row, now + (delay if deed.delay is None else deed.delay))


def _fail(deed: Settle, row: Row, kind: Kind, *, now: datetime) -> None:
    attempt = row["failures"] + row["crashes"] + 1
    _record(row, deed.text, at=deed.at, attempt=attempt)
    row["failures"] += 1
    delay = None if deed.final or (deed.fatal and kind.gives_up) else _delay(kind.delays, attempt)
    if row["is_cancelled"]:
        _clean_up(row, kind, now)
    elif delay is None:
        _finish(row, Outcome.FAILED, now)
    else:
        _move(row, now + (delay if deed.delay is None else deed.delay))


def _expire(deed: Expire, row: Row, kind: Kind, *, now: datetime) -> None:
    attempt = row["cleanup_attempts"] + 1 if row["in_cleanup"] else row["failures"] + row["crashes"] + 1
    text = f"lease expired: worker {row['leased_by']} stopped renewing it"
    _record(row, text, at=deed.at, attempt=attempt)
    _end_lease(row)
    row["crashes"] += 1
    poisoned = kind.max_crashes != 0 and row["crashes"] >= kind.max_crashes
    if row["in_cleanup"]:
        row["cleanup_attempts"] = attempt
        delay = None if poisoned else _delay(kind.cleanup_delays, attempt)
        if delay is None:
            _finish(row, Outcome.CANCELLED, now)
        else:
            _move(row, now + delay)
    elif row["is_cancelled"]:
        _clean_up(row, kind, now)
    elif poisoned or _delay(kind.delays, attempt) is None:
        _finish(row, Outcome.FAILED, now)


def _cancel(deed: Cancel, row: Row, now: datetime) -> None:
    row["is_cancelled"] = True
    row["cancelled_at"] = now
    if row["lease_uid"] is not None:
        return
    if deed.has_cleanup and row["recurrence"] is None:
        row["crashes"] = 0
        _move(row, now)
    else:
        _finish(row, Outcome.CANCELLED, now)


def _reset(deed: Reset, row: Row, now: datetime) -> None:
    row["run_uid"] = deed.run_uid
    row["in_cleanup"] = row["is_cancelled"] = False
    row["started_at"] = row["cancelled_at"] = row["done_at"] = None
    row["outcome"] = None
    row["result"] = row["progress"] = None
    row["settled_by"], row["errors"] = (), ()
    row["claims"] = row["failures"] = row["crashes"] = row["cleanup_attempts"] = row["error_count"] = 0
    if deed.slot is None:
        _move(row, now)
    else:
        _move(row, deed.slot[0])
        row["slots_used"] = deed.slot[1]


def _tick(deed: Tick, row: Row, now: datetime) -> None:
    if deed.slot is None:
        _finish(row, Outcome.COMPLETED, now)
    else:
        _move(row, deed.slot[0])
        row["slots_used"] = deed.slot[1]


def occurrences(deed: Tick) -> list[NewTask]:
    """Return the tasks that a tick creates."""
    seen = deed.seen
    return [
        NewTask(
            id=f"{seen['id']}_occ_{slot:%Y-%m-%dT%H:%M:%SZ}",
            kind=seen["kind"],
            payload=seen["payload"],
            run_uid=run_uid,
            created_by=deed.created_by,
            wait_until=slot,
            resource_key=seen["resource_key"],
            strict_order=seen["strict_order"],
            queue=seen["queue"],
            priority=seen["priority"],
            headers=seen["headers"],
            parent_recurrence_id=seen["id"],
            occurrence_timestamp=slot,
        )
        for slot, run_uid in zip(deed.fires, deed.run_uids, strict=True)
    ]


def _clean_up(row: Row, kind: Kind, now: datetime) -> None:
    if kind.has_cleanup:
        row["crashes"] = 0
        _move(row, now)
    else:
        _finish(row, Outcome.CANCELLED, now)


def _end_lease(row: Row) -> None:
    row["lease_uid"] = row["leased_by"] = row["leased_until"] = row["head_key"] = None


def _finish(row: Row, outcome: Outcome, now: datetime) -> None:
    row["outcome"], row["done_at"], row["head_key"] = outcome, now, None


def _move(row: Row, to: datetime) -> None:
    row["wait_until"], row["order_at"] = to, to - row["priority"] * MINUTE


def _record(row: Row, text: str, *, at: datetime, attempt: int) -> None:
    errors = [*row["errors"], TaskError(at=at, error=text, attempt=attempt)]
    if len(errors) > 10:
        del errors[1]
    row["errors"] = tuple(errors)
    row["error_count"] += 1


def _delay(delays: Sequence[timedelta], attempts: int) -> timedelta | None:
    return delays[attempts - 1] if attempts <= len(delays) else None
