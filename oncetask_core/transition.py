"""Changes as values: guards, patches, transitions and atoms, and what a store answers to them.

A store applies atoms and decides nothing. `judge` and `applied` are the executable specification of
`TaskStore.apply`: the memory store calls them, other stores say the same in their own language.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, TypedDict, cast

import msgspec

from oncetask_core.errors import StoreError
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask, OnceTask, StoreNow, TaskError, When, resolve


class Event(StrEnum):
    """What happened. Stores keep one prepared statement per event and set of patched fields."""

    SUCCEED = "succeed"
    FAIL = "fail"
    SNOOZE = "snooze"
    RELEASE = "release"
    PROGRESS = "progress"
    EXPIRE = "expire"
    CANCEL = "cancel"
    RESET = "reset"
    RESCHEDULE = "reschedule"
    TICK = "tick"


class Guard(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Under which circumstances a transition may be written.

    A holder's guard names the lease; everybody else's names the revision that was decided on. A
    revision alone would be fooled by delete and re-creation, so the run is always named.
    """

    id: str
    run_uid: str
    kind: str
    resource_key: str | None
    """The task's kind and key, which its run never changes: whose seat a store may have to move."""
    lease_uid: str | None = None
    """The lease that must hold the task."""
    epoch: int | None = None
    """The grant of that lease: a claim request that was given up, arrives late and leases the task anew under the
    same `lease_uid` does not revive the grant before it. None does not tell grants of one lease apart."""
    revision: int | None = None
    """The revision that the decision was made on; None for progress, which any revision takes."""
    run_out: bool = False
    """Whether the lease must have run out by the store's clock, read in the deciding statement."""


class Patch(TypedDict, total=False):
    """The fields that a transition writes. Absent means untouched, None means cleared."""

    run_uid: str
    wait_until: When
    order_at: When
    head_key: None
    lease_uid: None
    leased_by: None
    leased_until: None
    in_cleanup: bool
    started_at: None
    settled_by: tuple[str, ...]
    claims: int
    failures: int
    crashes: int
    cleanup_attempts: int
    is_cancelled: bool
    cancelled_at: When | None
    done_at: When | None
    outcome: Outcome | None
    result: str | None
    errors: tuple[TaskError, ...]
    error_count: int
    progress: str | None
    slots_used: int


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One guarded change of one task."""

    event: Event
    guard: Guard
    patch: Patch

    @property
    def bumps_revision(self) -> bool:
        """Whether the change makes decisions on the old record stale; progress does not."""
        return self.event is not Event.PROGRESS


class Atom(msgspec.Struct, frozen=True, gc=False):
    """Transitions and inserts that happen together or not at all.

    An insert whose id exists does not void its atom: it is reported as existing, as `insert` would.
    """

    transitions: tuple[Transition, ...] = ()
    inserts: tuple[NewTask, ...] = ()


class Verdict(StrEnum):
    """What became of an atom."""

    APPLIED = "applied"
    ALREADY = "already applied by you"
    LEASE_LOST = "lease lost"
    CHANGED = "changed"
    MISSING = "missing"
    BROKEN = "broken"


_ADVANCING: Final = frozenset({Event.CANCEL, Event.RESET, Event.RESCHEDULE, Event.RELEASE})
"""What makes a task due that was there already, for whoever has a free slot."""


def makes_work(atoms: Iterable[Atom]) -> bool:
    """Return whether others may find more to claim after these than by waiting for keys and times."""
    return any(atom.inserts or any(one.event in _ADVANCING for one in atom.transitions) for atom in atoms)


class Inserted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one insert: created, or the kind and creator of the task that has the id."""

    id: str
    created: bool
    kind: str
    created_by: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says about one atom; answers stand in the order of the atoms."""

    verdict: Verdict
    task: OnceTask[object] | None = None
    """The current record of the task whose guard refused, if it exists: decide again on it."""
    inserted: tuple[Inserted, ...] = ()
    error: StoreError | None = None
    """Why the store could not write the atom, when the verdict is broken."""


def judge(guard: Guard, task: OnceTask[object] | None, now: datetime) -> Verdict:
    """Return whether a transition with this guard may be written over `task` at `now` (the store's time)."""
    if task is None:
        return Verdict.MISSING
    if guard.lease_uid is None:
        same = task.run_uid == guard.run_uid and task.revision == guard.revision
        return Verdict.APPLIED if same else Verdict.CHANGED
    same_grant = task.lease_uid == guard.lease_uid and guard.epoch in (None, task.epoch)
    if task.run_uid == guard.run_uid and same_grant:
        return _judge_current_lease(guard, task, now)
    settled = task.run_uid == guard.run_uid and guard.lease_uid in task.settled_by
    return Verdict.ALREADY if settled and not guard.run_out else Verdict.LEASE_LOST


def _judge_current_lease(guard: Guard, task: OnceTask[object], now: datetime) -> Verdict:
    if guard.revision is not None and guard.revision != task.revision:
        return Verdict.CHANGED
    if guard.run_out and (task.leased_until is None or task.leased_until > now):
        return Verdict.CHANGED
    return Verdict.APPLIED


def applied(task: OnceTask[object], transition: Transition, now: datetime) -> OnceTask[object]:
    """Return the record after `transition` was written at `now` (the store's time)."""
    values = {
        name: resolve(value, now) if isinstance(value, StoreNow) else value
        for name, value in cast(Mapping[str, object], transition.patch).items()
    }
    revision = task.revision + 1 if transition.bumps_revision else task.revision
    return msgspec.structs.replace(task, revision=revision, **values)
