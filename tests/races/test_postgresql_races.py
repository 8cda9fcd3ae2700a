"""Sixteen processes race for one and for three hot keys on PostgreSQL, and everybody does everything at once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from oncetask_sql.keys import Key
from tests.postgresql.world import Schemas, connected, needs_server, schema_of
from tests.races.bustle import CONTROL_SECONDS, check_is_seen, check_nothing_is_wrong, play
from tests.races.planted import claims_without_seats, seats_for_ids_that_exist
from tests.races.racing import SECONDS, Held, check_is_caught, check_no_overlap, check_seats, run_race

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180), needs_server]


@pytest.mark.parametrize("keys", [1, 3])
def test_no_two_processes_ever_hold_one_key(keys: int, schemas: Schemas, tmp_path: Path) -> None:
    """However hard they race for groups of a key, and while others cancel, reset, move, delete and create its tasks."""
    url = schemas.new()
    held = run_race(url, tmp_path, seconds=SECONDS, variant="administered", keys=keys)

    check_no_overlap(held, keys=keys)
    check_seats(url, noted=noted(url))


def test_the_race_sees_a_claim_that_asks_whether_the_key_is_free(schemas: Schemas, tmp_path: Path) -> None:
    """NOT EXISTS with SKIP LOCKED is what most queues do; two claims at once see the key free."""

    def race(_: int) -> Mapping[str, Sequence[Held]]:
        return run_race(schemas.new(), tmp_path, seconds=SECONDS, variant="not exists")

    check_is_caught(race)


def test_repeated_creates_groups_and_administrators_leave_no_key_without_its_seat(schemas: Schemas) -> None:
    """In every pause each key has its seat, no two ever held one, and in the end nothing is left or lost."""
    url = schemas.new()

    check_nothing_is_wrong(play(url, lambda: noted(url), seconds=SECONDS))


@pytest.mark.parametrize(
    ("mistake", "fault"),
    [
        (seats_for_ids_that_exist, "the seat belongs to"),
        (claims_without_seats, "is held by lease"),
    ],
)
def test_the_bustle_sees_a_mistake_with_keys(
    mistake: Callable[[], AbstractContextManager[None]], fault: str, schemas: Schemas
) -> None:
    """Seats for tasks that are then not created, and claims without seats."""
    url = schemas.new()

    check_is_seen(play(url, lambda: noted(url), seconds=CONTROL_SECONDS, mistake=mistake()), fault)


def noted(url: str) -> set[Key]:
    """Return the keys that are noted for a later look."""
    with connected() as connection:
        rows = connection.execute(f"SELECT kind, resource_key FROM {schema_of(url)}.oncetask_later".encode())
        return {Key(*row) for row in rows}
