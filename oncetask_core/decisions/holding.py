"""What the holder of a lease decides: how its attempt ended."""

from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from oncetask_core.decisions.ending import (
    KindRules,
    after_cancelled_run,
    after_cleanup_failure,
    ended,
    grant_of,
    held,
    recorded,
    settled,
    wait,
)
from oncetask_core.errors import LeaseLostError
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask
from oncetask_core.transition import Event, Patch, Transition


class Success(msgspec.Struct, frozen=True, gc=False):
    """The handler returned."""

    result: str | None = None
    """Its value as JSON text; None for no value."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The handler raised, timed out, or returned what cannot be stored."""

    error: BaseException
    """What retry policies are asked about."""
    text: str
    """What is recorded."""
    at: datetime
    """When, by the worker's idea of the store's clock."""
    delay: timedelta | None = None
    """When the handler asked for a delay of its own: how long."""
    final: bool = False
    """Whether the handler asked not to be tried again."""


class Snoozed(msgspec.Struct, frozen=True, gc=False):
    """The handler asked to be run again later; nothing is charged."""

    delay: timedelta


class Released(msgspec.Struct, frozen=True, gc=False):
    """The worker gives the task back unfinished; nothing is charged."""


Report = Success | Failure | Snoozed | Released


def conclude(task: OnceTask[object], report: Report, rules: KindRules, *, chance: float) -> Transition:
    """Return what the holder's report does to the task.

    A success completes the task, a failure is retried or ends it, a snooze or release gives it back. When the
    task was cancelled meanwhile, the normal handler's run is followed by the clean-up, or ends the task as
    cancelled where its kind has none; a result is kept. A clean-up that ends makes the task cancelled.

    Args:
        task: The newest known record; its lease is the holder's.
        report: How the attempt ended.
        rules: The kind's policies.
        chance: A random number, 0 <= chance < 1, for jitter.

    Raises:
        LeaseLostError: The record holds no lease.
    """
    if task.lease_uid is None:
        raise LeaseLostError(task.id)
    event, patch = _decide(task, report, rules, chance=chance)
    return Transition(event, held(task), settled(task) | patch)


def _decide(task: OnceTask[object], report: Report, rules: KindRules, *, chance: float) -> tuple[Event, Patch]:
    match report:
        case Success():
            return Event.SUCCEED, _succeed(task, report, rules)
        case Failure():
            return Event.FAIL, _fail(task, report, rules, chance=chance)
        case Snoozed():
            snoozed = wait(report.delay, priority=task.priority) | Patch(crashes=0)
            return Event.SNOOZE, _give_back(task, rules, snoozed)
        case Released():
            return Event.RELEASE, _give_back(task, rules, Patch())
        case _:
            assert_never(report)


def _succeed(task: OnceTask[object], success: Success, rules: KindRules) -> Patch:
    if task.in_cleanup:
        return ended(Outcome.CANCELLED) | Patch(result=success.result if task.result is None else task.result)
    kept = Patch(result=success.result)
    return kept | (after_cancelled_run(task, rules) if task.is_cancelled else ended(Outcome.COMPLETED))


def _fail(task: OnceTask[object], failure: Failure, rules: KindRules, *, chance: float) -> Patch:
    if task.in_cleanup:
        history = recorded(task, failure.text, at=failure.at, attempt=task.cleanup_attempts + 1)
        return history | _fail_cleanup(task, failure, rules, chance=chance)
    history = recorded(task, failure.text, at=failure.at, attempt=task.attempts)
    charged = history | Patch(failures=task.failures + 1)
    if task.is_cancelled:
        return charged | after_cancelled_run(task, rules)
    delay = rules.retry_policy.delay_after(task.attempts, failure.error, chance=chance)
    if delay is None or failure.final:
        return charged | ended(Outcome.FAILED)
    return charged | wait(delay if failure.delay is None else failure.delay, priority=task.priority)


def _fail_cleanup(task: OnceTask[object], failure: Failure, rules: KindRules, *, chance: float) -> Patch:
    if failure.final:
        return ended(Outcome.CANCELLED) | Patch(cleanup_attempts=task.cleanup_attempts + 1)
    patch = after_cleanup_failure(task, rules, error=failure.error, chance=chance)
    if failure.delay is None or "outcome" in patch:
        return patch
    return patch | wait(failure.delay, priority=task.priority)


def _give_back(task: OnceTask[object], rules: KindRules, otherwise: Patch) -> Patch:
    """Return a pending cancellation's next step, as an expiry would, or `otherwise`."""
    if task.is_cancelled and not task.in_cleanup:
        return after_cancelled_run(task, rules)
    return otherwise


def report_progress(task: OnceTask[object], progress: str) -> Transition:
    """Return the write of the holder's latest progress (JSON text); it makes no decision stale.

    Raises:
        LeaseLostError: The record holds no lease.
    """
    if task.lease_uid is None:
        raise LeaseLostError(task.id)
    return Transition(Event.PROGRESS, grant_of(task), Patch(progress=progress))
