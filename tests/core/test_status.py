"""The status of a task follows from its stored facts and the time, by the table of the Go library."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from oncetask_core.status import FINAL, Outcome, TaskStatus, status_of
from tests.core.records import NOW, SECOND, a_task

PAST, FUTURE = NOW - SECOND, NOW + SECOND
FIRST_TIME = datetime.min.replace(tzinfo=NOW.tzinfo)

TABLE = [
    # done_at and outcome decide before anything else
    (TaskStatus.COMPLETED, {"outcome": Outcome.COMPLETED, "done_at": PAST}),
    (TaskStatus.FAILED, {"outcome": Outcome.FAILED, "done_at": PAST}),
    (TaskStatus.CANCELLED, {"outcome": Outcome.CANCELLED, "done_at": PAST, "is_cancelled": True}),
    (TaskStatus.COMPLETED, {"outcome": Outcome.COMPLETED, "leased_until": FUTURE, "wait_until": FUTURE}),
    # the outcome is a fact: a crash before the last failure does not make it a success
    (TaskStatus.FAILED, {"outcome": Outcome.FAILED, "failures": 2, "crashes": 1, "error_count": 2}),
    (TaskStatus.COMPLETED, {"outcome": Outcome.COMPLETED, "failures": 3, "error_count": 3}),
    # a cancellation hides lease and waiting time
    (TaskStatus.CANCELLATION_PENDING, {"is_cancelled": True}),
    (TaskStatus.CANCELLATION_PENDING, {"is_cancelled": True, "lease_uid": "l", "leased_until": FUTURE}),
    (TaskStatus.CANCELLATION_PENDING, {"is_cancelled": True, "wait_until": FUTURE}),
    # a lease counts while it is strictly in the future
    (TaskStatus.LEASED, {"lease_uid": "l", "leased_until": FUTURE}),
    (TaskStatus.LEASED, {"lease_uid": "l", "leased_until": FUTURE, "wait_until": FUTURE}),
    (TaskStatus.PENDING, {"lease_uid": "l", "leased_until": NOW}),
    (TaskStatus.PENDING, {"lease_uid": "l", "leased_until": PAST}),
    (TaskStatus.WAITING, {"lease_uid": "l", "leased_until": PAST, "wait_until": FUTURE}),
    # so does the waiting time
    (TaskStatus.WAITING, {"wait_until": FUTURE}),
    (TaskStatus.WAITING, {"wait_until": FUTURE, "failures": 1, "error_count": 1}),
    (TaskStatus.PENDING, {"wait_until": NOW}),
    (TaskStatus.PENDING, {"wait_until": PAST}),
    (TaskStatus.PENDING, {"wait_until": FIRST_TIME}),
]


@pytest.mark.parametrize(("status", "facts"), TABLE)
def test_status_follows_from_the_facts(status: TaskStatus, facts: dict[str, Any]) -> None:
    """The first rule that holds decides: outcome, cancellation, lease, waiting time."""
    task = a_task(**facts)

    assert status_of(task, NOW) is status
    assert task.status(NOW) is status


def test_final_statuses_are_those_of_the_outcomes() -> None:
    """Each outcome is a status of the same name, and those three are final."""
    assert {TaskStatus(outcome.value) for outcome in Outcome} == FINAL


def test_strings_are_those_of_the_go_library() -> None:
    """Whoever knows the Go library recognises the seven states."""
    names = ["waiting", "pending", "leased", "cancellationPending", "completed", "failed", "cancelled"]

    assert [str(status) for status in TaskStatus] == names


def test_time_alone_moves_a_task_from_waiting_to_pending() -> None:
    """Nothing is written when a waiting task becomes due."""
    task = a_task(wait_until=NOW)

    assert task.status(NOW - timedelta(microseconds=1)) is TaskStatus.WAITING
    assert task.status(NOW) is TaskStatus.PENDING
