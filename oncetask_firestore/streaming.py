"""A stream in both directions, which ends by having no more to say: then nothing of it is left in the event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
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
    with contextlib.suppress(asyncio.InvalidStateError):  # it has failed already: reading says why
        await call.write(request)
    stream = aiter(call)
    reading: asyncio.Future[Any] = asyncio.ensure_future(_read(stream))
    try:
        while True:
            async with asyncio.timeout(silence):
                reply = await asyncio.shield(reading)  # to cancel a read would cancel the call
            if reply is None:
                return
            reading = asyncio.ensure_future(_read(stream))
            yield reply
    finally:
        with contextlib.suppress(Exception):  # whatever it says now, nobody listens any more
            async with asyncio.timeout(END_SECONDS):
                await call.done_writing()
                while await reading is not None:
                    reading = asyncio.ensure_future(_read(stream))
        call.cancel()


async def _read(stream: AsyncIterator[Any]) -> Any:
    async for reply in stream:
        return reply
    return None
