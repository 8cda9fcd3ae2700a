"""Sixteen processes race for one and for three hot keys on each server, and everybody does everything at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from oncetask_sql.keys import Key
from tests.races.bustle import CONTROL_SECONDS, check_is_seen, check_nothing_is_wrong, play
from tests.races.planted import claims_without_seats, no_stripes, seats_for_ids_that_exist
from tests.races.racing import SECONDS, Race, check_is_caught, check_no_overlap, check_seats, run_race
from tests.servers.places import on_mariadb, on_postgresql
from tests.servers.world import Place

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]

NOT_EXISTS = {"postgresql": "not exists", "mariadb": "not exists on mariadb"}
MISTAKES = [
    on_postgresql(seats_for_ids_that_exist, "the seat belongs to"),
    on_postgresql(claims_without_seats, "is held by lease"),
    on_mariadb(seats_for_ids_that_exist, "the seat belongs to"),
    on_mariadb(no_stripes, ""),
]


@pytest.mark.parametrize("keys", [1, 3])
def test_no_two_processes_ever_hold_one_key(keys: int, place: Place, tmp_path: Path) -> None:
    """However hard they race for groups of a key, and while others cancel, reset, move, delete and create its tasks."""
    race = run_race(place.url, tmp_path, seconds=SECONDS, variant="administered", keys=keys)

    check_no_overlap(race, keys=keys)
    check_seats(place.url, noted=noted(place))


def test_the_race_sees_a_claim_that_asks_whether_the_key_is_free(place: Place, tmp_path: Path) -> None:
    """NOT EXISTS with SKIP LOCKED is what most queues do; two claims at once see the key free."""

    def race(_: int) -> Race:
        return run_race(place.empty(), tmp_path, seconds=SECONDS, variant=NOT_EXISTS[place.kind])

    check_is_caught(race)


def test_repeated_creates_groups_and_administrators_leave_no_key_without_its_seat(place: Place) -> None:
    """In every pause each key has its seat, no two ever held one, and in the end nothing is left or lost."""
    check_nothing_is_wrong(play(place.url, lambda: noted(place), seconds=SECONDS))


@pytest.mark.parametrize(("place", "mistake", "fault"), MISTAKES, indirect=["place"])
def test_the_bustle_sees_a_mistake_with_keys(
    mistake: Callable[[], AbstractContextManager[None]], fault: str, place: Place
) -> None:
    """Seats for tasks that are then not created, claims without seats, and seats without locks."""
    check_is_seen(play(place.url, lambda: noted(place), seconds=CONTROL_SECONDS, mistake=mistake()), fault)


def noted(place: Place) -> set[Key]:
    """Return the keys that are noted for a later look."""
    return {Key(*row) for row in place.run("SELECT kind, resource_key FROM oncetask_later")}
