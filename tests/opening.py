"""A store that is open for the length of a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from oncetask_core.store import TaskStore

StoreT = TypeVar("StoreT", bound=TaskStore)


@asynccontextmanager
async def open_meanwhile(store: StoreT) -> AsyncIterator[StoreT]:
    """Open a store, yield it, and close it."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()
