"""A project of the test's own on the emulator, stores on it, and faults in the channel between them."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
from google.cloud.firestore_v1 import AsyncClient
from grpc import aio

from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import WAKES
from tests.opening import open_meanwhile

ADDRESS = os.environ.get("ONCETASK_TEST_FIRESTORE", "")
if ADDRESS:
    os.environ["FIRESTORE_EMULATOR_HOST"] = ADDRESS  # what the client looks for
needs_server = pytest.mark.skipif(
    not ADDRESS, reason="no Firestore emulator: start one, or name it in ONCETASK_TEST_FIRESTORE"
)
_numbers = itertools.count(1)
_made: list[str] = []
Fields = dict[str, Any]
Fault = Callable[[str, Any], "grpc.StatusCode | None"]
"""Says by the name of a call and its request which error its caller gets, if any."""


def new_project() -> str:
    """Return a project that nobody else writes."""
    _made.append(f"test-{os.getpid()}-{next(_numbers)}")
    return _made[-1]


def new_projects() -> list[str]:
    """Return the projects since the last call."""
    made = list(_made)
    _made.clear()
    return made


def opened(project: str, **options: Any) -> AbstractAsyncContextManager[FirestoreStore]:
    """Yield an open store on a project."""
    return open_meanwhile(FirestoreStore(project=project, **options))


def freeze(store: FirestoreStore) -> None:
    """Let nothing that was read grow old, however slow the machine is."""
    store._memory._monotonic = lambda: 0.0


@asynccontextmanager
async def looking(project: str) -> AsyncIterator[AsyncClient]:
    """Yield a client of Firestore's own."""
    client = AsyncClient(project=project)
    try:
        yield client
    finally:
        await client._firestore_api.transport.close()


async def documents(project: str, collection: str = "onceTasks") -> dict[str, Fields]:
    """Return every document of a collection by name."""
    async with looking(project) as client:
        return {one.id: one.to_dict() or {} async for one in client.collection(collection).stream()}


async def put(project: str, name: str, fields: Fields) -> None:
    """Write fields of a task's document around the store, as a Go worker does: all of a new one, or some of an old."""
    async with looking(project) as client:
        await client.collection("onceTasks").document(name).set(fields, merge=True)


async def _nothing() -> None: ...


class Faults(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Errors in the channel: instead of a request, or instead of the reply to one that was obeyed.

    Attributes:
        before: Asked first; an error means that the request never arrives.
        after: Asked when the server has answered; an error means that its reply is lost.
        amid: Asked after each of many replies; an error means that the rest of them is lost.
        meanwhile: Run before the error of a lost reply is raised.
        calls: The names and requests of all calls.
        reads: How many documents were read, as they are billed: a query that finds nothing reads one.
        broken: Set to break every stream that listens.
    """

    def __init__(self) -> None:
        self.before: Fault = lambda _name, _request: None
        self.after: Fault = lambda _name, _request: None
        self.amid: Fault = lambda _name, _request: None
        self.meanwhile: Callable[[], Awaitable[None]] = _nothing
        self.calls: list[tuple[str, Any]] = []
        self.reads = 0
        self.broken = asyncio.Event()

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Pass on a call with one reply."""
        name = self.begun(client_call_details, request)
        reply = await continuation(client_call_details, request)
        await reply
        code = self.after(name, request)
        if code is not None:
            await self.meanwhile()
        self._raise(code)
        return reply

    def begun(self, details: Any, request: Any) -> str:
        """Take down a call, and raise what is to come before it."""
        name = details.method
        name = (name.decode() if isinstance(name, bytes) else name).rpartition("/")[2]
        self.calls.append((name, request))
        self._raise(self.before(name, request))
        return str(name)

    async def passed(self, name: str, request: Any, replies: Any) -> AsyncIterator[Any]:
        """Pass on many replies, each the read of a document."""
        async for reply in replies:
            self.reads += 1
            code = self.amid(name, request)
            if code is not None:
                replies.cancel()
            self._raise(code)
            yield reply

    @staticmethod
    def _raise(code: "grpc.StatusCode | None") -> None:
        if code is not None:
            raise aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details="made up by the test")


@contextmanager
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Yield the faults of every channel that is opened from now on."""
    faults, plain = Faults(), aio.insecure_channel

    def channel(target: str, **options: Any) -> Any:
        return plain(target, interceptors=[faults, _Streams(faults), _Listeners(faults)], **options)

    with monkeypatch.context() as patched:
        patched.setattr(aio, "insecure_channel", channel)
        yield faults


class _Streams(aio.UnaryStreamClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """The second half of `Faults`: a channel sorts its interceptors by their first kind."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Pass on a call with many replies."""
        name = self._faults.begun(client_call_details, request)
        return self._faults.passed(name, request, await continuation(client_call_details, request))


class _Listeners(aio.StreamStreamClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """The third part: listeners, whose stream breaks on demand."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Pass on what is heard until the stream is to break."""
        self._faults.begun(client_call_details, request)
        return self._until_broken(await continuation(client_call_details, request))

    async def _until_broken(self, call: Any) -> AsyncIterator[Any]:
        replies = aiter(call)
        while True:
            reply = asyncio.ensure_future(anext(replies))
            broken = asyncio.ensure_future(self._faults.broken.wait())
            try:
                await asyncio.wait({broken, reply}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                broken.cancel()
                if not reply.done():
                    reply.cancel()
            if self._faults.broken.is_set():
                self._faults.broken.clear()
                code, nothing = grpc.StatusCode.UNAVAILABLE, aio.Metadata()
                raise aio.AioRpcError(code, nothing, nothing, details="broken by the test")
            yield await reply


def once(code: "grpc.StatusCode", *names: str) -> Fault:
    """Return a fault that strikes the first of these calls, and no other; what only tells others does not count."""
    left = [code]
    return lambda name, request: left.pop() if left and name in names and not tells_others(name, request) else None


def tells_others(name: str, request: Any) -> bool:
    """Return whether a call tells other instances of tasks, which happens some time after these were created."""
    return name == "Commit" and all(f"/{WAKES}/" in write.update.name for write in request.writes)
