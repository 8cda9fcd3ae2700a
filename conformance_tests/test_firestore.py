"""Firestore, bound to the conformance suite: a project of its own for each case, read with Firestore's client."""

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from firestore_documents import raw_task
from firestore_rules import collection_faults
from google.cloud.firestore_v1 import AsyncClient
from google.cloud.firestore_v1.base_query import FieldFilter

from oncetask_conformance import INJECTED_CLOCK, SPOILED_RECORDS, RawTask, Space, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_firestore import FirestoreStore

ADDRESS = os.environ.get("ONCETASK_TEST_FIRESTORE", "")
if ADDRESS:
    os.environ["FIRESTORE_EMULATOR_HOST"] = ADDRESS  # what the client looks for
needs_server = pytest.mark.skipif(
    not ADDRESS, reason="no Firestore emulator: start one, or name it in ONCETASK_TEST_FIRESTORE"
)
pytestmark = [pytest.mark.store("firestore"), needs_server]
AS_GIVEN = {
    "test_each_field_is_stored_as_given",
    "test_a_value_has_the_type_of_its_field",
    "test_a_time_is_absolute_or_relative_to_the_stores_clock",
}
"""Cases that write single fields as no decision does, so that their documents are in no state that there is."""


class FirestoreSpace:
    """One project, and a client of its own to look into it."""

    def __init__(self, client: AsyncClient, clock: Clock | None) -> None:
        self._client = client
        self._clock = clock
        self._spoilt: set[str] = set()

    def store(self, env: str) -> TaskStore:
        """Return another instance on the project."""
        return FirestoreStore(self._client, env=env, clock=self._clock)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return the documents of an environment."""
        query = self._client.collection("onceTasks").where(filter=FieldFilter("env", "==", env))
        return [raw_task(snapshot.to_dict() or {}) async for snapshot in query.stream()]

    async def spoil(self, env: str, task_id: str) -> None:
        """Leave a text where a number belongs."""
        query = self._client.collection("onceTasks").where(filter=FieldFilter("id", "==", task_id))
        async for snapshot in query.stream():
            if (snapshot.to_dict() or {})["env"] == env:
                self._spoilt.add(snapshot.id)
                await snapshot.reference.update({"attempts": "three"})

    async def check(self) -> None:
        """Look at all documents, by the rules of a collection that Go workers share."""
        stored = {one.id: one.to_dict() or {} async for one in self._client.collection("onceTasks").stream()}
        assert collection_faults({name: stored[name] for name in stored.keys() - self._spoilt}) == []


class FirestoreHarness:
    """Binds the Firestore store.

    Attributes:
        is_strict: Whether what a case leaves behind has to keep the rules of shared documents.
    """

    is_strict = True

    capabilities = frozenset({INJECTED_CLOCK, SPOILED_RECORDS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return a project that nobody else writes."""
        client = AsyncClient(project=f"case-{secrets.token_hex(8)}")
        space = FirestoreSpace(client, clock)
        try:
            yield space
            if self.is_strict:
                await space.check()
        finally:
            await client._firestore_api.transport.close()


harness = FirestoreHarness()


@pytest.fixture(autouse=True)
def leniency(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some cases leave behind what they want."""
    monkeypatch.setattr(harness, "is_strict", request.node.originalname not in AS_GIVEN)


globals().update(conformance(harness))
