"""The same act told twice: as the core decides it, for a store, and as the model understands it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from oncetask_conformance.deeds import (
    BreakOff,
    Cancel,
    Deed,
    Expire,
    Kind,
    Progress,
    Reschedule,
    Reset,
    Row,
    Settle,
    Tick,
    is_allowed,
)
from oncetask_conformance.model import Act
from oncetask_core import decisions
from oncetask_core.decisions import Failure, KindRules, Released, Report, Snoozed, Success, Uids
from oncetask_core.errors import IllegalTransitionError, LeaseLostError
from oncetask_core.recurrence import Cursor, Due
from oncetask_core.retry import ExponentialBackoffPolicy, FixedDelayPolicy, NoRetryPolicy
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Atom, Transition

SECOND = timedelta(seconds=1)
PARCEL, LETTER, PALLET = "parcel", "letter", "pallet"

RULES: Mapping[str, KindRules] = {
    PARCEL: KindRules(
        retry_policy=FixedDelayPolicy(delay=10, max_attempts=3), cleanup_policy=NoRetryPolicy(), max_crashes=3
    ),
    LETTER: KindRules(
        retry_policy=ExponentialBackoffPolicy(
            max_attempts=4, base_delay=1, multiplier=3, max_delay=5, give_up_on=(KeyError,)
        ),
        cleanup_policy=FixedDelayPolicy(delay=5, max_attempts=3),
        has_cleanup=True,
        max_crashes=2,
    ),
    PALLET: KindRules(
        retry_policy=FixedDelayPolicy(max_attempts=0),
        cleanup_policy=NoRetryPolicy(),
        has_cleanup=True,
        max_crashes=0,
    ),
}
KINDS: Mapping[str, Kind] = {
    PARCEL: Kind(delays=[10 * SECOND, 10 * SECOND], max_crashes=3),
    LETTER: Kind(
        delays=[SECOND, 3 * SECOND, 5 * SECOND],
        cleanup_delays=[5 * SECOND, 5 * SECOND],
        has_cleanup=True,
        max_crashes=2,
        gives_up=True,
    ),
    PALLET: Kind(delays=[0 * SECOND] * 200, has_cleanup=True),
}
"""The same as `RULES`, worked out by hand."""


class Seen(NamedTuple):
    """A task as somebody saw it, on both sides."""

    record: OnceTask[object]
    row: Row


class Move(NamedTuple):
    """An atom for the store, and what the model makes of it."""

    atom: Atom
    act: Act


def move(seen: Seen, deed: Deed) -> Move | None:
    """Return the deed of somebody who saw the task, or None where both sides say that it makes no sense.

    Raises:
        AssertionError: They do not agree on that.
    """
    atom = _decided(seen.record, deed)
    if (atom is not None) != is_allowed(deed):
        raise AssertionError(f"the core says {atom}, the model does not, of {deed}")
    return None if atom is None else Move(atom, Act([deed]))


def together(moves: Sequence[Move], inserts: Sequence[NewTask] = ()) -> Move:
    """Return one move with all transitions and inserts of the others, and some more inserts."""
    transitions = tuple(transition for one in moves for transition in one.atom.transitions)
    created = tuple(new for one in moves for new in one.atom.inserts)
    deeds = [deed for one in moves for deed in one.act.deeds]
    return Move(Atom(transitions, (*created, *inserts)), Act(deeds, inserts))


def _decided(record: OnceTask[object], deed: Deed) -> Atom | None:
    try:
        decided = _decide(record, deed)
    except (IllegalTransitionError, LeaseLostError):
        return None
    return Atom((decided,)) if isinstance(decided, Transition) else decided


def _decide(record: OnceTask[object], deed: Deed) -> Transition | Atom | None:
    rules = RULES[record.kind]
    match deed:
        case Settle():
            return decisions.conclude(record, _report(deed), rules, chance=0.5)
        case Progress():
            return decisions.report_progress(record, deed.text)
        case Expire():
            return decisions.expire(record, rules, at=deed.at, chance=0.5)
        case Cancel():
            return decisions.cancel(record, has_cleanup=deed.has_cleanup)
        case Reset():
            resume = None if deed.slot is None else Cursor(*deed.slot)
            return decisions.reset(record, run_uid=deed.run_uid, resume=resume)
        case Reschedule():
            return decisions.reschedule(record, deed.when)
        case Tick():
            due = Due(tuple(deed.fires), None if deed.slot is None else Cursor(*deed.slot))
            uids = Uids(created_by=deed.created_by, run_uids=tuple(deed.run_uids))
            return decisions.tick(record, due, uids)
        case BreakOff():
            return decisions.break_off(record, deed.text, at=deed.at)


def _report(deed: Settle) -> Report:
    match deed.how:
        case "succeed":
            return Success(deed.result)
        case "fail":
            error = KeyError(deed.text) if deed.fatal else RuntimeError(deed.text)
            return Failure(error=error, text=deed.text, at=deed.at, delay=deed.delay, final=deed.final)
        case "snooze":
            return Snoozed(deed.delay or timedelta(0))
        case "release":
            return Released()
