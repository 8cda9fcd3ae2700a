"""Fixtures of more than one folder."""

from collections.abc import Iterator

import pytest

from tests.mariadb.world import Databases
from tests.postgresql.world import Schemas
from tests.servers.places import PLACES
from tests.servers.slow_motion import no_upkeep, slow_motion
from tests.servers.world import Place

__all__ = ["no_upkeep", "slow_motion"]


@pytest.fixture
def schemas() -> Iterator[Schemas]:
    """Makes schemas on the PostgreSQL server, and removes them after the test."""
    made = Schemas()
    yield made
    made.remove()


@pytest.fixture
def databases() -> Iterator[Databases]:
    """Makes databases on the MariaDB server, and removes them after the test."""
    made = Databases()
    yield made
    made.remove()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Return a place of the test's own, on each of the servers."""
    own: Place = request.param()
    yield own
    own.remove()
