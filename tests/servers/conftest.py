"""What the tests of the stores on servers are given."""

from collections.abc import Iterator

import pytest

from tests.servers.places import PLACES
from tests.servers.world import Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Return a place of the test's own, on each of the servers."""
    own: Place = request.param()
    yield own
    own.remove()
