"""The port: what a store does. One instance serves one environment.

A store keeps tasks and decides nothing. It is driven from several event loops (the worker's renewals run
on a thread of their own), so its methods must not be bound to the loop that opened it.

Errors: every method raises `StoreUnavailableError` when the store cannot be reached and asking again may
help, `StoreError` for any other failure of the store. No method retries a write whose outcome is unknown
without recognising its own earlier write.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import msgspec

from oncetask_core.claims import Claim
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Transition, Verdict

Decide = Callable[[OnceTask[object]], Transition]
"""What a holder writes over the newest record of its task."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What `get` found; ids that do not exist are in neither mapping."""

    tasks: Mapping[str, OnceTask[object]]
    unreadable: Mapping[str, str] = {}
    """Why a record could not be read, by task id."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim was granted."""

    tasks: Sequence[OnceTask[object]]
    """In claim order, the members of a group one behind the other."""
    now: datetime
    """The store's time of this call."""
    next_due: datetime | None = None
    """The earliest later time at which a task or generator of the claimed kinds becomes due.

    Of kinds whose slots were all granted it may be left out, or be what was known a moment ago.
    """
    unreadable: Mapping[str, str] = {}
    """Records that were due but cannot be read, now set aside so that they hold up nobody; why, by task id."""


class HeldLease(msgspec.Struct, frozen=True, kw_only=True):
    """One task that a lease holds."""

    id: str
    run_uid: str
    lease_uid: str
    cancel_requested: bool
    is_extended: bool = True
    """False where a duration was given, but another transaction keeps the record locked: the lease is held, and ends
    when it did before."""


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the named leases hold; a task that is missing here is lost to its lease."""

    held: Sequence[HeldLease]
    now: datetime


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A small versioned record: a pause, a kind's published options, a live worker."""

    name: str
    value: str
    """JSON text."""
    revision: int
    """At least 1; rises with every write and never repeats for a name, removals included."""


@runtime_checkable
class WakeUps(Protocol):
    """What a store with the capability `wake_ups` has besides `TaskStore`: it notices what others write."""

    async def changed(self) -> None:
        """Return once somebody else may have written what a claim would find, since the last such call returned.

        May return without a reason. The first call returns at once.

        Raises:
            StoreUnavailableError: Nothing can be noticed now.
        """
        ...


@runtime_checkable
class CallerTransactions(Protocol):
    """What a store with the capability `caller_transaction` has: it writes on a session of the caller.

    A session is whatever runs the caller's own statements. The caller begins, commits and rolls back; what is written
    is there if and only if that commit succeeds. Errors of the caller's driver come through as they are.
    """

    def awaits(self, session: object) -> bool:
        """Return whether statements on the session are awaited, rather than run in the calling thread.

        Raises:
            ConfigurationError: It is no session that the store knows, not on the database of the tasks, or each
                statement on it would commit by itself.
        """
        ...

    async def insert_in(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Do what `insert` does, on a session whose statements are awaited."""
        ...

    def insert_in_now(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Do what `insert` does, on a session in the calling thread."""
        ...

    async def settle_in(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Write what `decide` says about the newest record of a task that is held, as a holder's write.

        Raises:
            LeaseLostError: The lease is no longer the task's; the transaction can only be rolled back.
        """
        ...

    def settle_in_now(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Do what `settle_in` does, on a session in the calling thread."""
        ...


@runtime_checkable
class TaskStore(Protocol):
    """Keeps the tasks of one environment."""

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes; no other is ever touched."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """Optional abilities by name.

        `wake_ups` (see `WakeUps`), `caller_transaction` (see `CallerTransactions`), `injected_clock`.
        """
        ...

    async def open(self) -> None:
        """Connect and check the schema. Idempotent.

        Raises:
            SchemaError: The schema is missing, older or newer than this version; names `migrate`.
        """
        ...

    async def close(self) -> None:
        """Release every resource. Idempotent; a closed store may be opened again."""
        ...

    async def migrate(self) -> None:
        """Bring the schema to this version; safe to run concurrently and repeatedly."""
        ...

    async def now(self) -> datetime:
        """Return the store's time, aware UTC. It never runs backwards."""
        ...

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown in this environment, each independently of the others.

        Returns one answer per given task, in order. An id that exists is left untouched and answered with
        the kind and creator of the task that has it; of equal ids in one call the first is created.
        """
        ...

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        ...

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match, on the store's clock.

        Raises:
            ConfigurationError: The page size or cursor is invalid.
        """
        ...

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match, on the store's clock."""
        ...

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks, so that no two callers ever hold the same task or the same key.

        - What is taken is `claims.chosen` while no other call is in progress, else a part of it in the same order;
          what is written is `claims.leased`.
        - Repeatable: if `lease_uid` already holds tasks, exactly those are returned and nothing is claimed, in the same
          order as long as none of them has ended. Once all of them were settled a repeat claims anew; the epoch tells
          the two grants apart.
        - Leases that have run out are not touched: they must be expired first, by `apply`.
        - Each grant gets an `epoch` above every earlier one of its key (or id), deleted tasks included;
          members of one group share it or rise in order.
        """
        ...

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold; return one answer per atom, in order.

        - Guards are judged by `transition.judge` and changes are `transition.applied`, in the given order.
        - An atom is all or nothing; atoms are independent, and a broken one never voids its neighbours.
        - An atom sees what earlier atoms of the call wrote. The answer of a refused atom is that of its first guard
          that refused (already applied only if all were), with no inserts.
        - Afterwards the seats of every key that was touched are those of `seats.rightful_head` while no other call
          is in progress; a key is never left without somebody looking at it again.
        """
        ...

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold to now plus the duration; None only asks.

        Never shortens a lease, never revives one that was expired or settled, bumps no revision.
        """
        ...

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds (`judge`: applied means deleted); one verdict per guard, in order."""
        ...

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`, by name."""
        ...

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write (or with None remove) a control record; return whether it was done.

        Args:
            name: The record.
            value: JSON text, or None to remove it.
            if_revision: Write only over this revision; 0 means only if there is none; None means in any case.
        """
        ...
