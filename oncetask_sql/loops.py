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


L_co = TypeVar("L_co", bound=Closing, covariant=True)


class Loops(Generic[L_co]):
    """The connections of every event loop that uses a store.

    Args:
        make: Makes those of one loop, which connect when they are first used.
    """

    def __init__(self, make: Callable[[], L_co]) -> None:
        self._make = make
        self._process = os.getpid()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, L_co] = WeakKeyDictionary()

    def here(self) -> L_co:
        """Return the connections of the running event loop; what a parent process had belongs to the parent."""
        if self._process != os.getpid():
            self._process, self._by_loop = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        own = self._by_loop.get(loop)
        return self._by_loop.setdefault(loop, self._make()) if own is None else own

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        own = self._by_loop.pop(asyncio.get_running_loop(), None)
        if own is not None and self._process == os.getpid():
            await own.close()
