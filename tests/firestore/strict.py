"""What every test leaves behind on Firestore has to keep the rules of a collection that Go workers share."""

import asyncio
from collections.abc import Iterator

import pytest
from firestore_rules import collection_faults

from tests.firestore.world import documents, new_projects


@pytest.fixture(autouse=True)
def strict_documents() -> Iterator[None]:
    """Look at all documents of the test's projects when it is over."""
    new_projects()
    yield
    check_documents()


def check_documents() -> None:
    """Look at all documents of the projects that were made since the last look."""
    asyncio.run(_check(new_projects()))


async def _check(projects: list[str]) -> None:
    for project in projects:
        assert collection_faults(await documents(project)) == []
