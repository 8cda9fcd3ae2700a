"""What the event loops of a process have each for themselves, and what none uses after a fork."""

import asyncio
import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary


class Closing(Protocol):
    """What is closed."""

    async def close(self) -> None:
        """Close the connections, once what was asked for has ended."""
        ...


C_co = TypeVar("C_co", bound=Closing, covariant=True)


class PerLoop(Generic[C_co]):
    """The connections of every event loop that uses a store. Safe to use from several threads, each with its loop.

    Those of a parent process are kept in a child, and not used: whatever ends them there would end them for both.

    Args:
        make: Makes those of one loop, which connect when they are first used.
    """

    def __init__(self, make: Callable[[], C_co]) -> None:
        self._make = make
        self._by_process: dict[int, WeakKeyDictionary[asyncio.AbstractEventLoop, C_co]] = {}

    def here(self) -> C_co:
        """Return the connections of the running event loop of this process."""
        by_loop, loop = self._by_loop(), asyncio.get_running_loop()
        own = by_loop.get(loop)
        return by_loop.setdefault(loop, self._make()) if own is None else own

    async def close(self) -> None:
        """Close the connections of the running event loop, if there are any."""
        own = self._by_loop().pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close()

    def _by_loop(self) -> WeakKeyDictionary[asyncio.AbstractEventLoop, C_co]:
        return self._by_process.setdefault(os.getpid(), WeakKeyDictionary())
