"""One database, as one event loop talks to it: reads, queries, and commits whose outcome is always known.

Every write names the state that it was decided on: the document's time of update, or that there is none. So a commit
whose reply was lost may be repeated as it is; it is written once at most. When the repeat is refused, the random name
that every write leaves in its document tells whether the first one was written.
"""

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from google.api_core import exceptions
from google.cloud.firestore_v1 import AsyncClient

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_firestore import messages
from oncetask_firestore.channel import Channel, Heard
from oncetask_firestore.extras import EXTRAS
from oncetask_firestore.failures import REFUSALS, TRANSIENT, UNCERTAIN, UNWRITABLE, failed, unavailable
from oncetask_firestore.messages import Query
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.usage import Usage

T = TypeVar("T")

TASKS: Final = "onceTasks"
LOCKS: Final = "onceTaskKeys"
CONTROLS: Final = "onceTaskControls"
WORKERS: Final = "onceTaskWorkers"
WAKES: Final = "onceTaskWakes"
ANY: Final = "any"
"""Instead of a time of update: whatever is there, or nothing, is written over."""
PATIENCE_SECONDS: Final = 15.0
"""How long a call is repeated before the store counts as unavailable."""
OPENING_SECONDS: Final = 2.0
"""How long the first call is repeated where it cannot be made at all: nobody is kept waiting by a wrong address, and
workers open a store again until it is there."""
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 2.0
GET_AT_ONCE: Final = 300
NAMED: Final = 3
"""How many documents an error names."""


class Raw(NamedTuple):
    """A document as it was read."""

    name: str
    fields: Mapping[str, Any]
    created: int
    """Microseconds since 1970."""
    updated: Any
    """The time of update as Firestore gave it: the precondition of a write."""
    size: int = 0
    """Bytes on the wire, where it was read."""

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
    """The document's time of update when the write was decided on; None where there was no document, or `ANY`."""


class UnwritableError(StoreError):
    """A commit holds what Firestore does not take; nothing of it was written."""


class Database:
    """A database.

    Args:
        client: Firestore's client, of the running event loop.
        time: Learns the server's time.
        usage: Counts what is asked.
        name: How errors call it.
    """

    def __init__(self, client: AsyncClient, time: StoreTime, usage: Usage, *, name: str = "Firestore") -> None:
        self._channel = Channel(client, time, usage)
        self._name = name

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def get(
        self, names: Collection[str], collection: str = TASKS, *, unmade: float = PATIENCE_SECONDS
    ) -> dict[str, Raw]:
        """Return the documents that exist, by name.

        Args:
            names: What they are called.
            collection: Where they are.
            unmade: How many seconds a call is repeated that cannot be made: nothing listens, or no credentials are had.

        Raises:
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses.
        """
        wanted = list(dict.fromkeys(names))
        parts = (wanted[start : start + GET_AT_ONCE] for start in range(0, len(wanted), GET_AT_ONCE))
        found = [
            await self._patiently(functools.partial(self._channel.get, collection, part), unmade) for part in parts
        ]
        return {raw.name: raw for part in found for raw in map(_raw, part)}

    async def find(self, query: Query) -> list[Raw]:
        """Return the documents that a query finds, in its order.

        Raises:
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses: an index may be missing.
        """
        return [_raw(found) for found in await self._patiently(lambda: self._channel.find(query))]

    async def count(self, query: Query) -> int:
        """Return how many documents a query finds.

        Raises:
            StoreUnavailableError: Firestore does not answer.
            StoreError: It refuses: an index may be missing.
        """
        return await self._patiently(lambda: self._channel.count(query))

    async def listen(self, query: Query) -> AsyncGenerator[Heard, None]:
        """Yield the documents that a query finds, and each again when it changes.

        The end comes after a long silence.

        Raises:
            StoreUnavailableError: The stream broke; a new one may do better.
            StoreError: Firestore refuses: an index may be missing.
        """
        try:
            async with contextlib.aclosing(self._channel.listen(query)) as documents:
                async for document in documents:
                    yield document
        except TRANSIENT as error:
            raise StoreUnavailableError(f"the listener broke off: {error!r}") from error
        except exceptions.GoogleAPICallError as error:
            raise failed(self._name, error) from error

    async def commit(
        self, writes: Sequence[Write], *, mark: str, is_late: Callable[[], bool] = lambda: False
    ) -> Sequence[Any] | None:
        """Write everything, or nothing because a precondition does not hold.

        Returns the documents' new times of update, None for those that are not known; or None if nothing was written.

        Args:
            writes: At most one for each document.
            mark: The random name that each document gets with this commit.
            is_late: Asked before each try: whether it must no longer be written, as if a precondition did not hold.

        Raises:
            UnwritableError: Firestore does not take it.
            StoreUnavailableError: Firestore does not answer; nobody knows whether it was written.
            StoreError: It refuses for another reason.
        """
        uncertain = False
        messages_of = [self._message(write) for write in writes]

        async def ask() -> Sequence[Any] | None:
            nonlocal uncertain
            if is_late():
                return None
            try:
                return await self._channel.commit(messages_of)
            except UNCERTAIN:
                uncertain = True
                raise
            except REFUSALS:
                return None

        try:
            times = await self._patiently(ask)
        except StoreError as error:
            if isinstance(error.__cause__, UNWRITABLE):
                raise _unwritable(writes, error.__cause__) from error
            raise
        if times is None and uncertain and await self._bears(writes[0], mark):
            return [None] * len(writes)
        return times

    async def _patiently(self, ask: Callable[[], Awaitable[T]], unmade: float = PATIENCE_SECONDS) -> T:
        """Return what a call returns, repeating it with growing pauses while the error may pass."""
        started, pause = asyncio.get_running_loop().time(), FIRST_PAUSE
        while True:
            try:
                return await ask()
            except TRANSIENT as error:
                longest = unmade if isinstance(error, exceptions.ServiceUnavailable) else PATIENCE_SECONDS
                longest = min(longest, PATIENCE_SECONDS)
                if asyncio.get_running_loop().time() - started > longest:
                    raise unavailable(self._name, error, longest) from error
            except exceptions.GoogleAPICallError as error:
                raise failed(self._name, error) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _bears(self, write: Write, mark: str) -> bool:
        """Return whether a document is as a commit of ours left it: the others of the commit are as well."""
        found = (await self.get([write.name], write.collection)).get(write.name)
        if found is None or write.fields is None:
            return found is None and write.fields is None
        return mark_of(found.fields) == mark

    def _message(self, write: Write) -> Any:
        message = messages.WriteMessage()
        path = self._channel.path(write.collection, write.name)
        if write.fields is None:
            message.delete = path
        else:
            message.update.name = path
            messages.set_fields(message.update, write.fields)
        if write.updated is None:
            message.current_document.exists = False
        elif write.updated is not ANY:
            message.current_document.update_time.CopyFrom(write.updated)
            if write.fields is not None:
                message.update_mask.field_paths.extend(write.fields)
        return message


def mark_of(fields: Mapping[str, Any]) -> object:
    """Return the random name of the latest write of a document."""
    extras = fields.get(EXTRAS)
    return extras.get("write") if isinstance(extras, dict) else fields.get("write")


def _unwritable(writes: Sequence[Write], cause: BaseException) -> UnwritableError:
    names = ", ".join([*(repr(write.name) for write in writes[:NAMED]), *(["..."] if len(writes) > NAMED else [])])
    return UnwritableError(
        f"Firestore does not take what was to be written to {names}: {cause}. A document holds at most 1 MiB, its "
        "payload, result and history together; keep large data elsewhere and pass a reference to it"
    )


def _raw(message: Any) -> Raw:
    name = message.name.rpartition("/")[2]
    created = _micros(message.create_time)
    return Raw(name, messages.Fields(message), created, message.update_time, int(message.ByteSize()))


def _micros(moment: Any) -> int:
    return int(moment.ToMicroseconds())
