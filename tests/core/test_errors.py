"""Errors: each names the value, the rule and the way out."""

import inspect

import pytest

from oncetask_core import errors
from oncetask_core.errors import (
    BulkOperationError,
    HandlerTimeoutError,
    IllegalTransitionError,
    InputError,
    InvalidTaskError,
    LeaseLostError,
    NotCommittedError,
    OncetaskError,
    RunError,
    StateError,
    StoreError,
    StoreUnavailableError,
    TaskFailedError,
    TaskIdConflictError,
    TaskNotFoundError,
    shown,
)

ALL = [value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__]
BRANCHES = (InputError, StateError, RunError, StoreError, TaskIdConflictError)


class Hostile:
    """A value whose repr cannot be had."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("error", ALL)
def test_every_error_has_the_one_root_and_the_one_suffix(error: type[Exception]) -> None:
    """Whoever catches the root catches them all."""
    assert issubclass(error, OncetaskError)
    assert error.__name__.endswith("Error")
    assert error is OncetaskError or issubclass(error, BRANCHES)


@pytest.mark.parametrize("error", ALL)
def test_tree_in_the_documentation_names_every_error(error: type[Exception]) -> None:
    """The overview at the head of the module is complete."""
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize("error", [value for value in ALL if issubclass(value, InputError)])
def test_caller_s_mistake_names_value_rule_and_way_out(error: type[InputError]) -> None:
    """And it is a ValueError for whoever knows nothing of us."""
    made = error(value=-1, rule="a size is positive", remedy="Pass 1 or more.")

    assert str(made) == "a size is positive; got -1. Pass 1 or more."
    assert (made.value, made.rule, made.remedy) == (-1, "a size is positive", "Pass 1 or more.")
    assert isinstance(made, ValueError)


@pytest.mark.parametrize(
    ("made", "facts", "words"),
    [
        (
            TaskIdConflictError("t", kind="new", existing_kind="old"),
            {"task_id": "t", "kind": "new", "existing_kind": "old"},
            ["'t'", "'new'", "'old'", "Put the kind into the idempotent id"],
        ),
        (TaskNotFoundError("t"), {"task_id": "t"}, ["'t'", "deleted or purged"]),
        (
            IllegalTransitionError("t", event="reset", reason="it lives"),
            {"task_id": "t", "event": "reset", "reason": "it lives"},
            ["'t'", "'reset'", "it lives"],
        ),
        (LeaseLostError("t"), {"task_id": "t"}, ["'t'", "stop working on this task"]),
        (NotCommittedError("t"), {"task_id": "t"}, ["'t'", "commit the transaction before the handler returns"]),
        (
            TaskFailedError("t", outcome="failed", last_error="no"),
            {"task_id": "t", "outcome": "failed", "last_error": "no"},
            ["'t'", "ended as failed: no"],
        ),
        (TaskFailedError("t", outcome="cancelled", last_error=None), {"last_error": None}, ["ended as cancelled"]),
    ],
)
def test_state_of_the_world_is_told_with_its_facts(made: Exception, facts: dict[str, object], words: list[str]) -> None:
    """The facts are attributes, and the message names them."""
    assert {name: getattr(made, name) for name in facts} == facts
    assert all(word in str(made) for word in words)


def test_bulk_error_names_the_first_five() -> None:
    """The others are counted, and all are kept."""
    refused: dict[str, OncetaskError] = {f"t{number}": TaskNotFoundError(f"t{number}") for number in range(7)}

    made = BulkOperationError("reset", succeeded=3, errors=refused)

    assert str(made).startswith("partial reset: 3 succeeded, 7 failed: 't0': no task")
    assert str(made).endswith("(and 2 more)")
    assert "t5" not in str(made)
    assert (made.succeeded, made.errors) == (3, refused)


def test_bulk_error_of_few_names_them_all() -> None:
    """Nothing is hidden."""
    assert "more" not in str(BulkOperationError("reset", succeeded=0, errors={"t": TaskNotFoundError("t")}))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(TaskNotFoundError("t"), LookupError), (HandlerTimeoutError("slow"), TimeoutError)],
)
def test_errors_are_also_what_python_calls_them(error: Exception, builtin: type[Exception]) -> None:
    """Whoever catches the built-in error is served."""
    assert isinstance(error, builtin)


def test_store_that_may_answer_later_is_told_apart() -> None:
    """Asking again helps with one of them only."""
    assert issubclass(StoreUnavailableError, StoreError)
    assert not issubclass(StoreError, StoreUnavailableError)


def test_values_are_shown_in_short() -> None:
    """Messages stay readable, and payloads private."""
    assert shown("x") == "'x'"
    assert shown("x" * 118) == repr("x" * 118)
    assert shown("x" * 119) == "'" + "x" * 119 + "... (121 characters)"
    assert shown(Hostile()) == "<Hostile whose repr raised ZeroDivisionError>"
    assert shown(10**5000) == "<int whose repr raised ValueError>"


def test_message_about_a_hostile_value_is_still_built() -> None:
    """A repr that raises does not hide the mistake."""
    assert "Hostile" in str(InvalidTaskError(value=Hostile(), rule="a rule", remedy="A way out."))
