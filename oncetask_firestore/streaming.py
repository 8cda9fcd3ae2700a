"""A stream in both directions, which ends by having no more to say: then nothing of it is left in the event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Final

END_SECONDS: Final = 1.0
"""How long it is waited for the server to end a stream, before it is broken off."""


async def replies(begin: Callable[[], Any], request: Any, *, silence: float) -> AsyncGenerator[Any, None]:
    """Yield what the server says to a request, until it ends the stream.

    Args:
        begin: Makes the call.
        request: What is said first; nothing more is.
        silence: After how many seconds without a reply nothing more is expected.

    Raises:
        TimeoutError: The server said nothing for so long.
        Exception: The call failed.
    """
    call = begin()
    writing = _begun(_write(call, request))
    stream = aiter(call)
    reading = _begun(_read(stream))
    try:
        await asyncio.shield(writing)  # a write that is cancelled leaves the call to itself
        while True:
            async with asyncio.timeout(silence):
                reply = await asyncio.shield(reading)  # to cancel a read would cancel the call
            if reply is None:
                return
            reading = _begun(_read(stream))
            yield reply
    finally:
        try:
            with contextlib.suppress(Exception):  # whatever it says now, nobody listens any more
                async with asyncio.timeout(END_SECONDS):
                    await writing
                    await call.done_writing()
                    while await reading is not None:
                        reading = _begun(_read(stream))
        finally:
            call.cancel()
            reading.cancel()


def _begun(work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Begin something that may fail when nobody asks for it any more."""
    begun = asyncio.ensure_future(work)
    begun.add_done_callback(lambda done: done.cancelled() or done.exception())
    return begun


async def _write(call: Any, request: Any) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # it has failed already: reading says why
        await call.write(request)


async def _read(stream: AsyncIterator[Any]) -> Any:
    async for reply in stream:
        return reply
    return None
