"""What the tests on Firestore are given."""

from collections.abc import Iterator

import pytest

from tests.firestore.strict import strict_documents
from tests.firestore.world import Faults, faulty

__all__ = ["strict_documents"]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The calls in the channel, and what goes wrong there."""
    with faulty(monkeypatch) as made:
        yield made
