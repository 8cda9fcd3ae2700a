"""Fixtures of more than one folder."""

from collections.abc import Iterator

import pytest

from tests.mariadb.world import Databases
from tests.postgresql.world import Schemas


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
