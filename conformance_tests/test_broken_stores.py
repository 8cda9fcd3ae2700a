"""The suite against stores that are wrong on purpose: each is caught, and each test catches one."""

import asyncio
import inspect
import os
from collections.abc import Iterator, Mapping

import pytest
from broken.matrix import TABLE, broken_stores, cases_by_test, catches, computed, recorded, table
from broken.plain import PlainHarness, PlainStore

from oncetask_conformance import conformance

FULL = os.environ.get("ONCETASK_EFFORT") == "long"
CATCH_NOTHING: Mapping[str, str] = {}
"""Why a test of the suite catches none of the broken stores, by the test's name."""
_HOW = "run `python -m broken.matrix` in conformance_tests"

globals().update(conformance(PlainHarness(PlainStore)))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Yield one event loop for all runs."""
    with asyncio.Runner() as one:
        yield one


def test_the_matrix_names_every_store_and_test() -> None:
    """A new test or broken store is tried out before it is kept."""
    matrix = recorded()

    assert list(matrix) == list(cases_by_test()), _HOW
    assert {store for stores in matrix.values() for store in stores} == set(broken_stores()), _HOW


def test_the_table_is_current() -> None:
    """The documentation shows the recorded matrix."""
    assert TABLE.read_text(encoding="utf-8") == table(recorded()), _HOW


def test_every_test_catches_a_store_or_says_why_not() -> None:
    """A test that no broken store fails may not be able to fail at all."""
    silent = {name for name, stores in recorded().items() if not stores}

    assert silent == set(CATCH_NOTHING)


@pytest.mark.parametrize("name", broken_stores())
def test_a_broken_store_is_caught(name: str, runner: asyncio.Runner) -> None:
    """No broken store passes: the first test that is recorded to catch it does."""
    catching = [test for test, stores in recorded().items() if name in stores]

    assert catches(cases_by_test()[catching[0]], broken_stores()[name], runner)


@pytest.mark.parametrize("name", cases_by_test())
def test_a_test_catches_what_it_is_there_for(name: str, runner: asyncio.Runner) -> None:
    """Each test fails on the store that the fewest others catch, of those that it is recorded to catch."""
    matrix = recorded()
    rarest = min(matrix[name], key=lambda store: sum(store in stores for stores in matrix.values()))

    assert catches(cases_by_test()[name], broken_stores()[rarest], runner)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not FULL, reason="takes a minute: part of the long tests (ONCETASK_EFFORT=long)")
def test_the_whole_matrix_is_as_recorded() -> None:
    """Every test is run on every broken store, and catches exactly what is recorded."""
    assert computed() == recorded(), _HOW


@pytest.mark.parametrize("store", broken_stores().values(), ids=broken_stores())
def test_a_broken_store_is_a_small_change(store: type[PlainStore]) -> None:
    """A broken store differs from the plain one by at most twenty lines, and says what is wrong in one."""
    lines = [line for line in inspect.getsource(store).splitlines() if line.strip()]

    assert store.__doc__ is not None
    assert "\n" not in store.__doc__
    assert len(lines) <= 20
