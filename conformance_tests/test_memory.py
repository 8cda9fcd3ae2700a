"""Memory, bound to the conformance suite: the records as they stand on the shelves of the store's space."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from oncetask_conformance import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, RawTask, Space, as_raw, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_memory import MemoryStore
from oncetask_memory import Space as Shelves

pytestmark = pytest.mark.store("memory")


class MemorySpace:
    """The tasks that several stores share."""

    def __init__(self, clock: Clock | None) -> None:
        self._shelves = Shelves(clock)

    def store(self, env: str) -> TaskStore:
        """Return another instance on the same tasks."""
        return MemoryStore(env=env, space=self._shelves)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return what stands on the shelf of an environment."""
        return [as_raw(task) for task in self._shelves.shelves[env].tasks.values()]

    async def spoil(self, env: str, task_id: str) -> None:
        """Never asked for: what is in memory is not damaged."""
        raise NotImplementedError


class MemoryHarness:
    """Binds the memory store."""

    capabilities = frozenset({INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return shelves of their own."""
        yield MemorySpace(clock)


globals().update(conformance(MemoryHarness()))
