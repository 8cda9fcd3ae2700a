"""What a lease that ran out does to its task."""

from datetime import timedelta

import pytest

from oncetask_core.decisions import KindRules, expire
from oncetask_core.errors import IllegalTransitionError, LeaseExpiredError
from oncetask_core.retry import ByExceptionPolicy, FixedDelayPolicy, NoRetryPolicy
from oncetask_core.status import Outcome
from tests.core.records import CLEANED_UP, NOW, RULES, STATES, Task, a_task, cancelled, changed, held, written

UNLIMITED = FixedDelayPolicy(delay=10, max_attempts=0)


def expired(task: Task, rules: KindRules = RULES) -> Task:
    """Return the task after its lease was expired."""
    return written(task, expire(task, rules, at=NOW, chance=0.0))


def test_crash_is_charged_and_recorded() -> None:
    """It is an error of that attempt, and names the worker."""
    after = expired(held(a_task(failures=1)))

    assert (after.crashes, after.failures, after.error_count, after.claims) == (1, 1, 1, 1)
    assert [(entry.at, entry.attempt) for entry in after.errors] == [(NOW, 2)]
    assert after.errors[0].error == "lease expired: worker worker stopped renewing it"


def test_next_attempt_is_due_at_once_and_keeps_its_place() -> None:
    """A crash costs no back-off."""
    before = held(a_task(wait_until=NOW - timedelta(minutes=1), order_at=NOW - timedelta(minutes=1)))

    after = expired(before)

    assert (after.wait_until, after.order_at) == (before.wait_until, before.order_at)


def test_expired_lease_is_not_settled() -> None:
    """Its holder finds it lost."""
    assert expired(STATES["leased"]).settled_by == ()


@pytest.mark.parametrize(
    ("rules", "crashes", "outcome"),
    [
        (KindRules(retry_policy=UNLIMITED, max_crashes=3), 1, None),
        (KindRules(retry_policy=UNLIMITED, max_crashes=3), 2, Outcome.FAILED),
        (KindRules(retry_policy=UNLIMITED, max_crashes=1), 0, Outcome.FAILED),
        (KindRules(retry_policy=UNLIMITED, max_crashes=0), 99, None),
        (KindRules(retry_policy=NoRetryPolicy()), 0, Outcome.FAILED),
        (KindRules(retry_policy=FixedDelayPolicy(max_attempts=2)), 0, None),
        (KindRules(retry_policy=FixedDelayPolicy(max_attempts=2)), 1, Outcome.FAILED),
    ],
)
def test_crashes_end_a_task_by_limit_or_policy(rules: KindRules, crashes: int, outcome: Outcome | None) -> None:
    """A task that kills its workers fails after so many of them, and never outlives its attempts."""
    after = expired(held(a_task(crashes=crashes)), rules)

    assert after.outcome is outcome
    assert after.crashes == crashes + 1


def test_policy_sees_an_expired_lease() -> None:
    """Rules by exception type can treat crashes apart."""
    policy = ByExceptionPolicy({LeaseExpiredError: NoRetryPolicy()}, UNLIMITED)

    assert expired(held(a_task()), KindRules(retry_policy=policy)).outcome is Outcome.FAILED


def test_cancelled_run_goes_to_its_clean_up() -> None:
    """A worker that vanished cannot finish; the clean-up is due at once and starts without a suspicion."""
    after = expired(cancelled(held(a_task(crashes=1)), CLEANED_UP), CLEANED_UP)

    assert (after.outcome, after.wait_until, after.crashes, after.error_count) == (None, NOW, 0, 1)


def test_cancelled_run_without_clean_up_ends() -> None:
    """Nothing is left to do."""
    assert expired(cancelled(held(a_task()))).outcome is Outcome.CANCELLED


def test_crash_of_a_clean_up_is_an_attempt_of_it() -> None:
    """It waits as the clean-up's own policy says."""
    after = expired(STATES["in clean-up"], CLEANED_UP)

    assert (after.cleanup_attempts, after.crashes, after.wait_until) == (1, 1, NOW + timedelta(seconds=5))
    assert after.errors[0].attempt == 1


def test_clean_up_s_attempts_end() -> None:
    """The task is cancelled when its clean-up's attempts are used up."""
    last = changed(STATES["in clean-up"], cleanup_attempts=1)

    assert expired(last, CLEANED_UP).outcome is Outcome.CANCELLED


@pytest.mark.parametrize(
    ("max_crashes", "crashes", "outcome"), [(3, 1, None), (3, 2, Outcome.CANCELLED), (0, 99, None)]
)
def test_clean_up_that_kills_its_workers_ends(max_crashes: int, crashes: int, outcome: Outcome | None) -> None:
    """The crash limit holds for clean-ups, too, whatever their policy says."""
    rules = KindRules(cleanup_policy=UNLIMITED, has_cleanup=True, max_crashes=max_crashes)

    assert expired(changed(STATES["in clean-up"], crashes=crashes), rules).outcome is outcome


@pytest.mark.parametrize("state", ["pending", "completed"])
def test_only_a_lease_expires(state: str) -> None:
    """A record without a lease has nothing to expire."""
    with pytest.raises(IllegalTransitionError, match="'expire': it holds no lease"):
        expire(STATES[state], RULES, at=NOW, chance=0.0)


def test_guard_asks_for_the_time_again() -> None:
    """A renewal may come between the look and the write."""
    assert expire(STATES["run out"], RULES, at=NOW, chance=0.0).guard.run_out
