"""Sixteen processes race for one and for three hot keys on MariaDB."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.mariadb.world import Databases, needs_server
from tests.races.racing import SECONDS, Held, check_is_caught, check_no_overlap, run_race

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180), needs_server]


@pytest.mark.parametrize("keys", [1, 3])
def test_no_two_processes_ever_hold_one_key(keys: int, databases: Databases, tmp_path: Path) -> None:
    """However hard they race, the executions of one key never overlap."""
    held = run_race(databases.new(), tmp_path, seconds=SECONDS, variant="correct", keys=keys)

    check_no_overlap(held, keys=keys)


def test_the_race_sees_a_claim_that_asks_whether_the_key_is_free(databases: Databases, tmp_path: Path) -> None:
    """NOT EXISTS with SKIP LOCKED is what most queues do; two claims at once see the key free."""

    def race(_: int) -> Mapping[str, Sequence[Held]]:
        return run_race(databases.new(), tmp_path, seconds=SECONDS, variant="not exists on mariadb")

    check_is_caught(race)
