"""Tests marked `alone` have no neighbours in a parallel session."""

import pytest

OBSERVING = """
import contextlib, os, pathlib, pytest

ROOM = pathlib.Path(os.environ["ROOM"])

@contextlib.contextmanager
def inside(name):
    (ROOM / name).touch()
    yield {path.name for path in ROOM.iterdir()} - {name}
    (ROOM / name).unlink()

@pytest.mark.alone
@pytest.mark.parametrize("number", range(10))
def test_alone(number):
    with inside(f"alone-{number}") as others:
        for _ in range(200):
            others |= {path.name for path in ROOM.iterdir()}
        assert others == {f"alone-{number}"}

@pytest.mark.parametrize("number", range(200))
def test_in_company(number):
    with inside(f"company-{number}") as others:
        assert not any(other.startswith("alone") for other in others)
"""


def test_nobody_runs_beside_a_test_that_is_alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test lists who is in the room with it while it runs on one of two workers."""
    monkeypatch.setenv("ROOM", str(pytester.mkdir("room")))
    pytester.makepyfile(OBSERVING)
    pytester.makeini("[pytest]\nmarkers = alone: no neighbours\naddopts = -p tests.alone -p no:cacheprovider")

    result = pytester.runpytest_subprocess("-n", "2")

    result.assert_outcomes(passed=210)
