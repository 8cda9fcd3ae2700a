"""What the tests of the SQL stores are given."""

from pathlib import Path

import pytest

from tests.sql.world import Space


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """Return a place for a database file."""
    return Space(tmp_path / "tasks.db")
