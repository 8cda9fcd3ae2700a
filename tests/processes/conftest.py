"""What the tests with worker processes are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.firestore import world as firestore
from tests.firestore.strict import strict_documents
from tests.mariadb import world as mariadb
from tests.mariadb.world import Databases
from tests.postgresql import world as postgresql
from tests.postgresql.world import Schemas
from tests.processes.stores import long_only

__all__ = ["strict_documents"]

STORES = [
    pytest.param("sqlite", marks=long_only),
    pytest.param("postgresql", marks=[long_only, postgresql.needs_server]),
    pytest.param("mariadb", marks=[long_only, mariadb.needs_server]),
    pytest.param("firestore", marks=firestore.needs_server),
]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty place, on each store that processes share or on the one that a test names.

    No commit waits for a disk: what is killed here are processes, and a disk may take longer than a short lease.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tasks.db'}?synchronous=normal"
    elif request.param == "firestore":
        yield f"firestore://{firestore.new_project()}"
    else:
        places = Schemas() if request.param == "postgresql" else Databases()
        yield places.new()
        places.remove()
