"""The memory store: the reference, and what unit tests use."""

from oncetask_core.clock import Clock
from oncetask_core.errors import ConfigurationError
from oncetask_memory.space import Snapshot, Space
from oncetask_memory.store import MemoryStore

__all__ = ["MemoryStore", "Snapshot", "Space", "open_store"]


def open_store(url: str, *, env: str, clock: Clock | None = None) -> MemoryStore:
    """Return a new, empty store for a `memory://` URL.

    Raises:
        ConfigurationError: Something follows `memory://`.
    """
    if url != "memory://":
        raise ConfigurationError(
            value=url,
            rule="a memory store has no name: every memory:// is a new, empty one",
            remedy="Make one MemoryStore and hand it to every manager that is to share it.",
        )
    return MemoryStore(env=env, clock=clock)
