"""One database, as one event loop talks to it: reads, queries, and commits whose outcome is always known.

Every write names the state that it was decided on: the document's time of update, or that there is none. So a commit
whose reply was lost may be repeated as it is; it is written once at most. When the repeat is refused, the random name
that every write leaves in its document tells whether the first one was written.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from google.api_core import exceptions
from google.cloud.firestore_v1 import AsyncClient, DocumentSnapshot
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_query import FieldFilter

from oncetask_core.errors import StoreError
from oncetask_firestore.extras import EXTRAS
from oncetask_firestore.failures import REFUSALS, TRANSIENT, UNCERTAIN, UNWRITABLE, failed, unavailable

T = TypeVar("T")
Condition = tuple[str, str, object]
"""A field, a comparison, a value."""

TASKS: Final = "onceTasks"
LOCKS: Final = "onceTaskKeys"
CONTROLS: Final = "onceTaskControls"
PATIENCE_SECONDS: Final = 15.0
"""How long a call is repeated before the store counts as unavailable."""
CALL_SECONDS: Final = 10.0
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 2.0
GET_AT_ONCE: Final = 300


class Raw(NamedTuple):
    """A document as it was read."""

    name: str
    fields: Mapping[str, Any]
    created: int
    """Microseconds since 1970."""
    updated: Any
    """The time of update as Firestore gave it: the precondition of a write."""

    @property
    def updated_micros(self) -> int:
        """The time of update in microseconds since 1970."""
        return _micros(self.updated)


class Write(NamedTuple):
    """One write of a commit, under its precondition."""

    collection: str
    name: str
    fields: Mapping[str, Any] | None
    """What is created or changed; None deletes."""
    updated: Any = None
    """The document's time of update when the write was decided on; None where there was no document."""


class UnwritableError(StoreError):
    """A commit holds what Firestore does not take; nothing of it was written."""


class Database:
    """A database.

    Args:
        client: Firestore's client, of the running event loop.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def tasks(self) -> AsyncQuery:
        """Return the query of all tasks."""
        return self._query(TASKS)

    def controls(self) -> AsyncQuery:
        """Return the query of all control records."""
        return self._query(CONTROLS)

    def _query(self, collection: str) -> AsyncQuery:
        return AsyncQuery(self._client.collection(collection))

    async def close(self) -> None:
        """Close the connection."""
        api = self._client._firestore_api_internal  # noqa: SLF001 - the client closes its channel by no other way
        if api is not None:
            await api.transport.close()

    async def get(self, names: Collection[str], collection: str = TASKS) -> dict[str, Raw]:
        """Return the documents that exist, by name.

        Raises:
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses.
        """
        wanted, found = list(dict.fromkeys(names)), {}
        for start in range(0, len(wanted), GET_AT_ONCE):
            part = wanted[start : start + GET_AT_ONCE]
            for raw in await _patiently(lambda part=part: self._get(part, collection)):  # type: ignore[misc]
                found[raw.name] = raw
        return found

    async def _get(self, names: Sequence[str], collection: str) -> list[Raw]:
        references = [self._client.collection(collection).document(name) for name in names]
        snapshots = self._client.get_all(references, retry=None, timeout=CALL_SECONDS)
        return [_raw(snapshot) async for snapshot in snapshots if snapshot.exists]

    async def find(self, query: AsyncQuery) -> list[Raw]:
        """Return the documents that a query finds, in its order.

        Raises:
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses: an index may be missing.
        """

        async def ask() -> list[Raw]:
            stream: AsyncIterator[DocumentSnapshot[Any]] = query.stream(retry=None, timeout=CALL_SECONDS)
            return [_raw(snapshot) async for snapshot in stream]

        return await _patiently(ask)

    async def commit(self, writes: Sequence[Write], *, mark: str) -> bool:
        """Write everything, or nothing because a precondition does not hold; return whether it was written.

        Args:
            writes: At most one for each document.
            mark: The random name that each document gets with this commit.

        Raises:
            UnwritableError: Firestore does not take it.
            StoreUnavailableError: Firestore does not answer; nobody knows whether it was written.
            StoreError: It refuses for another reason.
        """
        uncertain = False

        async def ask() -> bool:
            nonlocal uncertain
            try:
                await self._batch(writes).commit(retry=None, timeout=CALL_SECONDS)
            except UNCERTAIN:
                uncertain = True
                raise
            except REFUSALS:
                return False
            return True

        try:
            written = await _patiently(ask)
        except StoreError as error:
            if isinstance(error.__cause__, UNWRITABLE):
                raise UnwritableError(str(error.__cause__)) from error
            raise
        return written or (uncertain and await self._bears(writes[0], mark))

    async def _bears(self, write: Write, mark: str) -> bool:
        """Return whether a document is as a commit of ours left it: the others of the commit are as well."""
        found = (await self.get([write.name], write.collection)).get(write.name)
        if found is None or write.fields is None:
            return found is None and write.fields is None
        return mark_of(found.fields) == mark

    def _batch(self, writes: Iterable[Write]) -> AsyncWriteBatch:
        batch = self._client.batch()
        for write in writes:
            reference = self._client.collection(write.collection).document(write.name)
            option = None if write.updated is None else self._client.write_option(last_update_time=write.updated)
            if write.fields is None:
                batch.delete(reference, option)
            elif option is None:
                batch.create(reference, dict(write.fields))
            else:
                batch.update(reference, dict(write.fields), option)
        return batch


def where(query: AsyncQuery, *conditions: Condition) -> AsyncQuery:
    """Return a query with more conditions."""
    for field, comparison, value in conditions:
        query = query.where(filter=FieldFilter(field, comparison, value))
    return query


def mark_of(fields: Mapping[str, Any]) -> object:
    """Return the random name of the latest write of a document."""
    extras = fields.get(EXTRAS)
    return extras.get("write") if isinstance(extras, dict) else fields.get("write")


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns, repeating it with growing pauses while the error may pass."""
    started, pause = time.monotonic(), FIRST_PAUSE
    while True:
        try:
            return await ask()
        except TRANSIENT as error:
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise unavailable(error, PATIENCE_SECONDS) from error
        except exceptions.GoogleAPICallError as error:
            raise failed(error) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, LONGEST_PAUSE)


def _raw(snapshot: DocumentSnapshot[Any]) -> Raw:
    fields = snapshot.to_dict() or {}
    return Raw(snapshot.id, fields, _micros(snapshot.create_time), snapshot.update_time)


def _micros(moment: Any) -> int:
    return int(moment.timestamp_pb().ToMicroseconds())
