"""The page of guarantees names every promise, and only tests that exist."""

import re

import pytest

from tests.docs.test_examples import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:suite|tests)/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
PROMISES = [f"S{n}" for n in range(1, 17)] + [f"L{n}" for n in range(1, 11)] + [f"N{n}" for n in range(1, 9)]
PROMISES += [f"E{n}" for n in range(1, 6)]


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}::{test}" for file, test in NAMED])
def test_named_tests_exist(file: str, test: str) -> None:
    """A promise that loses its test is noticed."""
    base = ROOT / "conformance_tests" / "oncetask_conformance" if file.startswith("suite/") else ROOT
    source = (base / file).read_text(encoding="utf-8")

    assert f"def {test}(" in source


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_has_its_row(promise: str) -> None:
    """No promise is left out, and each names a test, is not promised, or says that it is not there yet."""
    (row,) = re.findall(rf"^\| {promise} \|.*$", PAGE, re.MULTILINE)

    assert promise.startswith("N") or "::test_" in row or "not yet" in row
