"""The page of seed tests has a row for each test of the Go library, and names only tests that exist."""

import re
from collections import Counter

import pytest

from tests.docs.test_examples import ROOT

PAGE = (ROOT / "docs" / "seed-tests.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r"`((?:suite|tests)/[\w/]+\.py)::(\w+)`")
ROWS = [[cell.strip() for cell in line.strip("|").split(" |")] for line in PAGE.splitlines() if line.startswith("| ")]
CONDITIONS = [row for row in ROWS if row[0].isdigit()]
TESTS = [row for row in ROWS if row[0] and not row[0].isdigit() and row[0] != "test"]
NAMED = sorted(set(REFERENCE.findall(PAGE)))

CASES = {
    "GetCancellationHandler": 1,
    "ProcessTaskFailure_RetryPolicySelection": 2,
    "ProcessTaskFailure_CancellationRetryExhaustion": 3,
    "TaskIDFromContext": 3,
    "ResourceKeyFromContext": 3,
    "NewOnceTask_WaitUntil": 6,
    "NewOnceTask_RecurrenceErrors": 5,
    "NewOnceTask_FieldsInitialization": 4,
    "SafeExecute": 3,
    "SafeExecute_PanicRecovery": 4,
    "SafeExecute_WithHandlerTypes": 4,
    "FindOccurrence": 8,
    "CalculateNextOccurrence": 3,
    "ResetEligibility": 5,
    "ResetStateClearing": 3,
    "ResetIdempotency": 2,
    "EnvironmentIsolation": 1,
    "ResetWithResourceKey": 1,
    "ResetPreservesStructuralMetadata": 1,
    "GetStatus": 15,
    "GetStatus_InvalidTimestamps": 3,
    "GetStatus_Priority": 2,
}
"""The Go library's tests that have subtests, and how many."""


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}::{test}" for file, test in NAMED])
def test_named_tests_exist(file: str, test: str) -> None:
    """A behaviour that loses its test is noticed."""
    base = ROOT / "conformance_tests" / "oncetask_conformance" if file.startswith("suite/") else ROOT
    source = (base / file).read_text(encoding="utf-8")

    assert f"def {test}(" in source


def test_every_condition_of_the_status_has_its_row() -> None:
    """Ten, in their order."""
    assert [row[0] for row in CONDITIONS] == [str(number) for number in range(1, 11)]


def test_every_seed_test_has_its_rows() -> None:
    """As many as it has subtests, and one where it has none."""
    with_cases = Counter(row[0] for row in TESTS if row[1])
    alone = [row[0] for row in TESTS if not row[1]]

    assert with_cases == CASES
    assert (len(CASES) + len(alone), sum(CASES.values())) == (31, 82)
    assert len(set(alone) | CASES.keys()) == 31


def test_no_subtest_is_counted_twice() -> None:
    """Each row is about another case."""
    assert [pair for pair, count in Counter((row[0], row[1]) for row in TESTS).items() if count > 1] == []


@pytest.mark.parametrize("row", CONDITIONS + TESTS, ids=lambda row: " ".join(row[:2]).strip())
def test_every_row_names_what_checks_it(row: list[str]) -> None:
    """One test or more; a row without is no counterpart."""
    assert any(REFERENCE.search(cell) for cell in row)
