"""Sixteen processes race for three hot keys in one SQLite file."""

from pathlib import Path

import pytest

from tests.races.racing import SECONDS, Race, check_is_caught, check_no_overlap, check_seats, run_race

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]


def test_no_two_processes_ever_hold_one_key(tmp_path: Path) -> None:
    """However hard they race for groups of a key, and while others cancel, reset, move, delete and create its tasks."""
    url = f"sqlite:///{tmp_path / 'race.db'}"

    check_no_overlap(run_race(url, tmp_path, seconds=SECONDS, variant="administered"), keys=3)
    check_seats(url, noted=())


def test_the_race_sees_a_claim_that_looks_before_it_takes(tmp_path: Path) -> None:
    """The same race on a claim of two transactions finds overlaps: it could have seen ours."""

    def race(attempt: int) -> Race:
        url = f"sqlite:///{tmp_path / f'race-{attempt}.db'}"
        return run_race(url, tmp_path, seconds=SECONDS, variant="deferred")

    check_is_caught(race)
