"""What a binding tells the suite: how to make a store on an empty space, and how to read the space around it.

The second half matters as much as the first. A store whose reading mirrors its mistakes in writing looks
right through its own methods, so the suite checks what really lies in the storage: with `sqlite3`, with a
plain driver, with the emulator's client; never through the store.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from oncetask_core.clock import Clock
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask, TaskError

INJECTED_CLOCK = "injected_clock"
"""The store reads time from a clock that it is given; without it, what takes minutes is skipped."""
REPEATS_AT_ONCE = "repeats_at_once"
"""Requests of one claim that reach several instances at the same moment lease one set of tasks. Without it each may
lease its own: a worker has one instance, and its next renewal gives back what nobody runs."""
SEATS = "seats"
"""The storage says who may be claimed next for a key (`head_key`). Without it, that is seen by claims alone."""
SPOILED_RECORDS = "spoiled_records"
"""The binding can make a stored record unreadable (`Space.spoil`). For storage that can be damaged at all."""


class RawTask(msgspec.Struct, frozen=True, kw_only=True):
    """One task as it lies in the storage, as plain values; every field of `OnceTask` that is stored."""

    id: str
    kind: str
    env: str
    payload: str
    run_uid: str
    created_by: str
    created_at: datetime
    wait_until: datetime
    order_at: datetime
    sequence: int
    resource_key: str | None
    strict_order: bool
    head_key: str | None
    queue: str
    priority: int
    headers: Mapping[str, str]
    lease_uid: str | None
    leased_by: str | None
    leased_until: datetime | None
    epoch: int
    in_cleanup: bool
    started_at: datetime | None
    revision: int
    settled_by: tuple[str, ...]
    claims: int
    failures: int
    crashes: int
    cleanup_attempts: int
    is_cancelled: bool
    cancelled_at: datetime | None
    done_at: datetime | None
    outcome: Outcome | None
    result: str | None
    errors: tuple[TaskError, ...]
    error_count: int
    progress: str | None
    recurrence: Recurrence | None
    slots_used: int
    parent_recurrence_id: str | None
    occurrence_timestamp: datetime | None


RAW_FIELDS: tuple[str, ...] = RawTask.__struct_fields__


def as_raw(task: OnceTask[object]) -> RawTask:
    """Return what the storage has to hold when a store hands out this record."""
    return RawTask(**{name: getattr(task, name) for name in RAW_FIELDS})


class Space(Protocol):
    """An empty place for tasks of any number of environments: a file, a schema, a collection."""

    def store(self, env: str) -> TaskStore:
        """Return a new store instance for one environment, not opened; it runs on the clock of the space.

        Each call is another view of the same tasks, as another process would have.
        """
        ...

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return every task of the environment, in any order, read around the store."""
        ...

    async def spoil(self, env: str, task_id: str) -> None:
        """Damage the stored record so that the store cannot read it; only with `SPOILED_RECORDS`."""
        ...


class Harness(Protocol):
    """One binding: a store that is to pass the suite."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Which optional cases apply, by name: those of the store, and `SPOILED_RECORDS`."""
        ...

    def space(self, clock: Clock | None) -> AbstractAsyncContextManager[Space]:
        """Return a new empty space, removed at the end of the context.

        Args:
            clock: What the stores of the space read time from; None means their own clock.
        """
        ...
