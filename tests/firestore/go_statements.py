"""What a Go worker says to Firestore: its statements, by the plain client of Google."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from google.cloud.firestore_v1 import AsyncClient, Increment
from google.cloud.firestore_v1.async_transaction import AsyncTransaction
from google.cloud.firestore_v1.base_query import FieldFilter

from oncetask_firestore.messages import Query
from tests.firestore.golang import Fields

TASKS = "onceTasks"


class Change(NamedTuple):
    """One write: it never names the state that it was decided on."""

    name: str
    fields: Fields | None
    """What is created or changed; None deletes."""
    is_new: bool = False
    """Whether the document must not exist; a change needs it, a deletion does not care."""
    claims: int = 0
    """How much the server adds to `attempts`."""


class Transaction(Protocol):
    """A read-write transaction: what it reads stays as it is until it ends."""

    async def find(self, query: Query) -> list[str]:
        """Return the names of what a query finds."""
        ...

    async def get(self, names: Sequence[str]) -> list[Fields]:
        """Return the documents that exist, in the order of their names here."""
        ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Write everything.

        Raises:
            Aborted: Somebody else was faster; nothing was written.
        """
        ...

    async def rollback(self) -> None:
        """Give it up."""
        ...


class Statements(Protocol):
    """A database as one Go process sees it."""

    async def begin(self) -> Transaction:
        """Begin a transaction."""
        ...

    async def find(self, query: Query) -> list[str]:
        """Return the names of what a query finds, outside of any transaction."""
        ...

    async def get(self, names: Sequence[str]) -> Mapping[str, Fields]:
        """Return the documents that exist, by name."""
        ...

    async def write(self, change: Change) -> None:
        """Write one change.

        Raises:
            AlreadyExists: The document must not exist.
            NotFound: It has to.
        """
        ...


class ClientStatements:
    """Says them by Google's client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def begin(self) -> Transaction:
        transaction = self._client.transaction(max_attempts=1)
        await transaction._begin()
        return _ClientTransaction(self._client, transaction)

    async def find(self, query: Query) -> list[str]:
        return [one.id async for one in _said(self._client, query).stream()]

    async def get(self, names: Sequence[str]) -> Mapping[str, Fields]:
        references = [self._client.collection(TASKS).document(name) for name in names]
        return {one.id: one.to_dict() or {} async for one in self._client.get_all(references) if one.exists}

    async def write(self, change: Change) -> None:
        batch = self._client.batch()
        _add(self._client, batch, change)
        await batch.commit()


class _ClientTransaction:
    def __init__(self, client: AsyncClient, transaction: AsyncTransaction) -> None:
        self._client = client
        self._transaction = transaction

    async def find(self, query: Query) -> list[str]:
        return [one.id async for one in _said(self._client, query).stream(transaction=self._transaction)]

    async def get(self, names: Sequence[str]) -> list[Fields]:
        references = [self._client.collection(TASKS).document(name) for name in names]
        found = self._client.get_all(references, transaction=self._transaction)
        by_name = {one.id: one.to_dict() or {} async for one in found if one.exists}
        return [by_name[name] for name in names if name in by_name]

    async def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            _add(self._client, self._transaction, change)
        await self._transaction._commit()

    async def rollback(self) -> None:
        await self._transaction._rollback()


def _said(client: AsyncClient, query: Query) -> Any:
    said: Any = client.collection(query.collection).select([])
    for field, comparison, value in query.conditions:
        said = said.where(filter=FieldFilter(field, comparison, value))
    for field in query.order:
        said = said.order_by(field)
    return said.limit(query.most) if query.most else said


def _add(client: AsyncClient, batch: Any, change: Change) -> None:
    reference = client.collection(TASKS).document(change.name)
    if change.fields is None:
        batch.delete(reference)
    elif change.is_new:
        batch.create(reference, change.fields)
    else:
        batch.update(reference, change.fields | ({"attempts": Increment(change.claims)} if change.claims else {}))
