"""What the end of an attempt does to its task."""

from datetime import timedelta

import pytest

from oncetask_core.decisions import KindRules, Released, Report, Snoozed, Success, conclude, report_progress
from oncetask_core.errors import LeaseLostError
from oncetask_core.retry import ByExceptionPolicy, FixedDelayPolicy, NoRetryPolicy
from oncetask_core.status import Outcome
from tests.core.records import (
    CLEANED_UP,
    NOW,
    RULES,
    SECOND,
    STATES,
    Task,
    a_failure,
    a_task,
    cancelled,
    changed,
    ended,
    held,
)

STOPPED = held(a_task(failures=1, crashes=2))
"""Held after a failure and two crashes."""


def test_success_completes() -> None:
    """The result and the time are kept."""
    after = ended(Success('"value"'))

    assert (after.outcome, after.result, after.done_at) == (Outcome.COMPLETED, '"value"', NOW)


def test_failure_waits_for_its_policy() -> None:
    """The failure is charged and recorded, and the next attempt waits as the policy says."""
    after = ended(a_failure())

    assert after.is_live
    assert (after.failures, after.error_count, after.wait_until) == (1, 1, NOW + timedelta(seconds=10))
    assert [(entry.at, entry.error, entry.attempt) for entry in after.errors] == [(NOW, "no such street", 1)]


@pytest.mark.parametrize(
    ("before", "outcome"), [(a_task(failures=1), None), (a_task(failures=2), "failed"), (a_task(crashes=2), "failed")]
)
def test_failures_and_crashes_use_up_the_attempts(before: Task, outcome: str | None) -> None:
    """The policy sees every attempt, however it ended."""
    after = ended(a_failure(), held(before))

    assert after.outcome == outcome
    assert after.errors[-1].attempt == before.attempts + 1


def test_failed_task_keeps_its_last_wait() -> None:
    """A task that ended as failed is not moved in time."""
    after = ended(a_failure(final=True))

    assert (after.outcome, after.wait_until, after.failures) == (Outcome.FAILED, NOW, 1)


def test_handler_may_choose_its_own_delay() -> None:
    """`RetryAfter` says when; the policy still says whether."""
    asked = a_failure(delay=timedelta(hours=2))

    assert ended(asked).wait_until == NOW + timedelta(hours=2)
    assert ended(asked, rules=KindRules(retry_policy=NoRetryPolicy())).outcome is Outcome.FAILED


def test_policy_sees_the_error_itself() -> None:
    """Rules by exception type get the live exception."""
    rules = KindRules(retry_policy=ByExceptionPolicy({RuntimeError: NoRetryPolicy()}, FixedDelayPolicy(delay=1)))

    assert ended(a_failure(), rules=rules).outcome is Outcome.FAILED


@pytest.mark.parametrize("report", [Snoozed(SECOND), Released()])
def test_giving_back_charges_nothing(report: Report) -> None:
    """Neither failures nor attempts, nor the error history."""
    after = ended(report, held(a_task(failures=1)))

    assert (after.failures, after.attempts, after.error_count, after.claims) == (1, 1, 0, 1)


def test_snooze_waits() -> None:
    """The task is due again after the delay."""
    assert ended(Snoozed(SECOND)).wait_until == NOW + SECOND


def test_release_keeps_the_place() -> None:
    """A task that is given back unfinished is due as before."""
    before = held(a_task(wait_until=NOW - SECOND, order_at=NOW - SECOND))

    assert ended(Released(), before).wait_until == NOW - SECOND


def test_snooze_forgives_crashes_and_a_release_does_not() -> None:
    """A handler that reported is no killer; a worker that shut down proves nothing."""
    assert ended(Snoozed(SECOND), STOPPED).crashes == 0
    assert ended(Released(), STOPPED).crashes == 2


def test_priority_goes_with_the_order() -> None:
    """The place in the claim order follows the due time, less a minute per step."""
    after = ended(Snoozed(SECOND), held(a_task(priority=3)))

    assert after.order_at == after.wait_until - timedelta(minutes=3)


@pytest.mark.parametrize(
    "report", [Success('"value"'), a_failure(), a_failure(final=True), Snoozed(SECOND), Released()]
)
@pytest.mark.parametrize("rules", [RULES, CLEANED_UP])
def test_cancelled_run_goes_to_its_clean_up_or_ends(report: Report, rules: KindRules) -> None:
    """However the normal run ended: where there is a clean-up it is due at once, else the task is cancelled."""
    after = ended(report, cancelled(STOPPED, rules), rules)

    if rules.has_cleanup:
        assert (after.outcome, after.wait_until, after.crashes) == (None, NOW, 0)
    else:
        assert (after.outcome, after.done_at, after.crashes) == (Outcome.CANCELLED, NOW, 2)


def test_result_of_a_cancelled_run_is_kept() -> None:
    """A run that finished all the same has its value stored, and the clean-up does not overwrite it."""
    stopped = ended(Success('"value"'), cancelled(held(a_task()), CLEANED_UP), CLEANED_UP)
    cleaned = ended(Success('"cleaned"'), held(stopped, "lease 2", epoch=2), CLEANED_UP)

    assert stopped.result == cleaned.result == '"value"'
    assert cleaned.outcome is Outcome.CANCELLED


def test_clean_up_s_own_value_is_kept_where_there_is_no_other() -> None:
    """The result of a task that never ran is its clean-up's."""
    assert ended(Success('"cleaned"'), STATES["in clean-up"], CLEANED_UP).result == '"cleaned"'


def test_failure_of_a_cancelled_run_is_still_charged() -> None:
    """It was a failure of the normal handler."""
    after = ended(a_failure(), cancelled(held(a_task()), CLEANED_UP), CLEANED_UP)

    assert (after.failures, after.cleanup_attempts, after.error_count) == (1, 0, 1)


def test_clean_up_has_a_budget_of_its_own() -> None:
    """Failures of the normal handler do not count against it, and its own are counted apart."""
    first = ended(a_failure(), changed(STATES["in clean-up"], failures=7), CLEANED_UP)
    second = ended(a_failure(), held(first), CLEANED_UP)

    assert (first.outcome, first.cleanup_attempts, first.wait_until) == (None, 1, NOW + timedelta(seconds=5))
    assert (second.outcome, second.cleanup_attempts, second.failures) == (Outcome.CANCELLED, 2, 7)
    assert [entry.attempt for entry in second.errors] == [1, 2]


def test_clean_up_may_choose_its_own_delay() -> None:
    """`RetryAfter` works in a clean-up as long as there is an attempt left."""
    asked = a_failure(delay=timedelta(hours=2))
    first = ended(asked, STATES["in clean-up"], CLEANED_UP)

    assert first.wait_until == NOW + timedelta(hours=2)
    assert ended(asked, held(first), CLEANED_UP).outcome is Outcome.CANCELLED


def test_clean_up_may_give_up() -> None:
    """The task ends cancelled, with the attempt counted."""
    after = ended(a_failure(final=True), STATES["in clean-up"], CLEANED_UP)

    assert (after.outcome, after.cleanup_attempts) == (Outcome.CANCELLED, 1)


def test_clean_up_may_be_given_back() -> None:
    """A clean-up that is snoozed or released is tried again, uncharged."""
    snoozed = ended(Snoozed(SECOND), STATES["in clean-up"], CLEANED_UP)
    released = ended(Released(), STATES["in clean-up"], CLEANED_UP)

    assert (snoozed.outcome, snoozed.cleanup_attempts, snoozed.wait_until) == (None, 0, NOW + SECOND)
    assert (released.outcome, released.cleanup_attempts, released.wait_until) == (None, 0, NOW)


def test_last_eight_settlements_are_remembered() -> None:
    """The history of leases is bounded."""
    before = changed(held(a_task()), settled_by=tuple(f"old {number}" for number in range(8)))

    assert ended(Released(), before).settled_by == (*(f"old {number}" for number in range(1, 8)), "lease 1")


@pytest.mark.parametrize("count", [9, 10, 25])
def test_history_of_errors_is_bounded(count: int) -> None:
    """The first and the last nine are kept, all are counted."""
    rules = KindRules(retry_policy=FixedDelayPolicy(max_attempts=0))
    task = a_task()
    for number in range(count):
        task = ended(a_failure(f"error {number}"), held(task), rules)

    kept = [entry.error for entry in task.errors]
    assert task.error_count == task.failures == count
    assert kept == [f"error {number}" for number in ([0, *range(max(count - 9, 1), count)])]


@pytest.mark.parametrize("state", ["pending", "waits for clean-up", "completed"])
def test_whoever_holds_nothing_reports_nothing(state: str) -> None:
    """A record without a lease makes its holder's report impossible."""
    with pytest.raises(LeaseLostError, match="'t'"):
        conclude(STATES[state], Success(), RULES, chance=0.0)
    with pytest.raises(LeaseLostError, match="'t'"):
        report_progress(STATES[state], "1")


def test_progress_is_kept_and_changes_nothing_else() -> None:
    """The latest value is stored."""
    assert report_progress(STATES["leased"], '{"done":3}').patch == {"progress": '{"done":3}'}
