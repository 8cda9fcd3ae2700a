"""Sixteen processes race for one and for three hot keys on Firestore's emulator."""

from pathlib import Path

import pytest

from tests.firestore.world import needs_server, new_project
from tests.processes.stores import long_only
from tests.races.racing import SECONDS, Race, check_is_caught, check_no_overlap, check_nothing_is_held, run_race

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180), needs_server]


@pytest.mark.parametrize(
    ("keys", "variant", "options"),
    [
        (1, "any head", ""),
        (3, "groups", ""),
        pytest.param(3, "any head", "", marks=long_only),
        pytest.param(1, "any head", "?shared_with_go=true", marks=long_only),
    ],
)
def test_no_two_processes_ever_hold_one_key(keys: int, variant: str, tmp_path: Path, *, options: str) -> None:
    """Whichever tasks of a key they race for, and while others cancel, reset, move, delete and create its tasks."""
    url = f"firestore://{new_project()}{options}"
    race = run_race(url, tmp_path, seconds=SECONDS, variant=f"{variant}, administered, long hold", keys=keys)

    check_no_overlap(race, keys=keys, least=3)  # a cold emulator serves sixteen processes slowly
    check_nothing_is_held(url)


def test_the_race_sees_a_claim_without_the_keys_lock(tmp_path: Path) -> None:
    """A query that finds no lease of the key is no promise that none is granted before the commit."""

    def race(_: int) -> Race:
        return run_race(
            f"firestore://{new_project()}", tmp_path, seconds=SECONDS / 2, variant="any head, no lock, long hold"
        )

    check_is_caught(race)
