"""What the tests of the stores on servers are given."""

from collections.abc import Iterator

import pytest

from tests.mariadb.world import needs_server as needs_mariadb
from tests.postgresql.world import needs_server as needs_postgresql
from tests.servers.places import MariadbPlace, PostgresqlPlace
from tests.servers.world import Place

PLACES = [
    pytest.param(PostgresqlPlace, id="postgresql", marks=needs_postgresql),
    pytest.param(MariadbPlace, id="mariadb", marks=needs_mariadb),
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Return a place of the test's own, on each of the servers."""
    own: Place = request.param()
    yield own
    own.remove()
