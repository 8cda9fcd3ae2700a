"""The suite itself: how much it asks, what it leaves out where a store lacks a capability, and how it reads."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from broken.plain import PlainHarness, PlainStore

from oncetask_conformance import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS, RawTask
from oncetask_conformance.running import INJECTED, OWN, Case, cases, run
from oncetask_conformance.suite import SUITE
from oncetask_core.task import OnceTask

CASES: Sequence[Case] = [case for tests in SUITE for case in cases(tests)]
VERBS: Mapping[str, Sequence[str]] = {
    "insert": ("Inserting",),
    "get": ("Getting",),
    "find": ("Finding",),
    "count": ("Counting",),
    "claim": ("Granting", "Taking", "Suspects", "Repeating", "NextDue"),
    "apply": ("Settling", "CancelledRuns", "Fencing", "RepeatedSettles", "Batching"),
    "control": ("Cancelling", "Resetting", "Rescheduling", "StaleDecisions"),
    "expire": ("Expiring",),
    "renew": ("Renewing",),
    "delete": ("Deleting",),
    "control records": ("ControlRecords",),
    "keys": ("Exclusion", "Seating", "StrictOrder", "Grouping"),
}


class Incapable(PlainHarness):
    """Binds the plain store as if it had fewer capabilities."""

    def __init__(self, *lacking: str) -> None:
        super().__init__(PlainStore)
        self._lacking = frozenset(lacking)

    @property
    def capabilities(self) -> frozenset[str]:
        """What is left."""
        return super().capabilities - self._lacking


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_asked_for_at_least_twenty_cases(verb: str) -> None:
    """No verb is looked at in passing."""
    groups = {f"{name}Tests" for name in VERBS[verb]}

    assert sum(case.tests.__name__ in groups for case in CASES) >= 20


def test_the_suite_has_hundreds_of_cases_with_names_of_their_own() -> None:
    """Every case is found by its name."""
    names = Counter(case.name for case in CASES)

    assert len(CASES) >= 250
    assert [name for name, count in names.items() if count > 1] == []


def test_what_time_decides_runs_on_both_clocks() -> None:
    """Claims, renewals, expiries and retries are tried on the injected clock and on the store's own."""
    by_clock = Counter(case.parameters.get("clock") for case in CASES)
    on_its_own = {case.tests.__name__ for case in CASES if case.parameters.get("clock") == OWN}

    assert by_clock[INJECTED] == by_clock[OWN]
    assert on_its_own >= {"TakingTests", "RenewingTests", "ExpiringTests", "SettlingTests", "FencingTests"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_test_reads_as_a_sentence(case: Case) -> None:
    """Each test says in one line what holds."""
    doc = case.function.__doc__

    assert doc is not None
    assert "\n" not in doc
    assert doc.endswith(".")


def test_raw_tasks_have_every_stored_field() -> None:
    """A field that is added to the record is asked for by the suite."""
    assert set(RawTask.__struct_fields__) == set(OnceTask.__struct_fields__) - {"reader"}


@pytest.mark.parametrize("lacking", [INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS])
def test_a_missing_capability_is_a_skip_by_its_name(lacking: str) -> None:
    """A store without it passes what is left, and what is left is most of the suite."""
    reasons = Counter(_reason(case, Incapable(lacking)) for case in CASES)

    skipped = {reason: count for reason, count in reasons.items() if reason}
    assert skipped
    assert all(reason.startswith(f"needs the capability {lacking}") for reason in skipped)
    assert reasons[""] > len(CASES) / 2


def _reason(case: Case, harness: PlainHarness) -> str:
    try:
        asyncio.run(run(case, harness))
    except pytest.skip.Exception as skip:
        return str(skip)
    return ""
