"""What other threads have to tell an event loop."""

import asyncio
from collections.abc import Callable


def post(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call a function on an event loop, soon, from any thread; not at all once the loop is closed.

    The loop is not asked before whether it is open: it may close between the answer and the call.
    """
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise
