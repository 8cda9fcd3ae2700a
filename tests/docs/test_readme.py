"""The README names no figure that is not so."""

import re
import subprocess
import sys

from broken.matrix import broken_stores

from tests.docs.test_examples import ROOT

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_number_of_cases_is_that_of_the_suite() -> None:
    """As many as pytest collects for one store."""
    collected = subprocess.run(
        [
            sys.executable,
            *["-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "conformance_tests/test_memory.py"],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (number,) = re.findall(r"conformance suite of ([\d,]+) cases", PAGE)

    assert f"{int(number.replace(',', ''))} tests collected" in collected.stdout


def test_the_number_of_broken_stores_is_that_of_the_table() -> None:
    """As many as the suite has to catch."""
    (number,) = re.findall(r"(\d+) deliberately broken stores", PAGE)

    assert int(number) == len(broken_stores())
