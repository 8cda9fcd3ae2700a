"""The records: what a store keeps about one task.

Records are frozen and hold facts only. Every change of a record is decided in `decisions` and written
by a store as a `Transition`. Times are aware UTC datetimes; `None` means absent.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import msgspec

from oncetask_core.payload import decode_payload, decode_value, plain
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome, TaskStatus, status_of

P_co = TypeVar("P_co", covariant=True)
T = TypeVar("T")

PRIORITY_STEP = timedelta(seconds=60)
"""How much earlier in the claim order one step of priority puts a task."""

DEFAULT_QUEUE = "default"


class TaskError(msgspec.Struct, frozen=True):
    """One failed, timed-out or crashed attempt."""

    at: datetime
    """When it was recorded, UTC."""
    error: str
    """What went wrong, at most 4 KiB."""
    attempt: int
    """Which attempt it was, counted from 1; clean-up attempts are counted on their own."""


class StoreNow(NamedTuple):
    """The store's own time at the moment of the write, plus a duration.

    Legal wherever a patch or a new task holds a time. Each store evaluates it in one place, on its own
    clock, inside the statement that writes it.
    """

    plus: timedelta = timedelta(0)


When = datetime | StoreNow
"""An absolute aware UTC time, or a time relative to the store's clock."""


def order_at(wait_until: datetime, priority: int) -> datetime:
    """Return the task's place in the claim order: each step of priority is worth sixty seconds."""
    return wait_until - priority * PRIORITY_STEP


class DataReader(Protocol):
    """Decodes the payloads and results of one kind; bound to a task by whoever knows the kind's types."""

    def read_payload(self, text: str) -> object:
        """Return the payload as the kind's registered type; raise `PayloadError` if it does not fit."""
        ...


class OnceTask(msgspec.Struct, Generic[P_co], frozen=True, kw_only=True):
    """One task as stored. Immutable; `data` is decoded when it is first asked for, not before."""

    id: str
    """Chosen by the caller, unique in its environment: the idempotency key of the creation."""
    kind: str
    env: str
    payload: str
    """The payload as JSON text."""
    run_uid: str
    """Identifies this incarnation: new on every create and reset, so that no old worker can touch it."""
    created_by: str
    """Nonce of the create call, by which a caller recognises its own task after a lost reply."""
    created_at: datetime
    wait_until: datetime
    """Not claimed before this time."""
    order_at: datetime
    """The place in the claim order: `wait_until` less sixty seconds per step of priority."""
    sequence: int = 0
    """The order of creation, given by the store; ties in `order_at` go to the lower number."""

    resource_key: str | None = None
    strict_order: bool = False
    """Whether tasks of the key run in order of creation, a failed one holding up those behind it."""
    head_key: str | None = None
    """The key's seat: equals `resource_key` while this task is the one that may be claimed next, else None."""
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    headers: Mapping[str, str] = {}

    lease_uid: str | None = None
    """The lease that holds the task; chosen by the worker for each claim call, shared by its tasks."""
    leased_by: str | None = None
    leased_until: datetime | None = None
    epoch: int = 0
    """The fence number of the latest claim: higher for every later claim of the same key (or id)."""
    in_cleanup: bool = False
    """Whether the latest lease was granted for the clean-up handler."""
    started_at: datetime | None = None
    """When the latest lease was granted."""

    revision: int = 0
    """Rises with every transition except renewals and progress: what decisions are guarded by."""
    settled_by: tuple[str, ...] = ()
    """The leases of this run that were settled, the last eight: how a lost reply is recognised."""
    claims: int = 0
    """How many leases were granted in this run."""
    failures: int = 0
    crashes: int = 0
    """How many leases ended without a report: in this phase (normal or clean-up), since the last snooze."""
    cleanup_attempts: int = 0
    """How many clean-up attempts ended without success."""

    is_cancelled: bool = False
    cancelled_at: datetime | None = None
    done_at: datetime | None = None
    outcome: Outcome | None = None
    result: str | None = None
    """The handler's value as JSON text, once there is one."""
    errors: tuple[TaskError, ...] = ()
    """The first and the latest errors of this run."""
    error_count: int = 0
    """How many errors there were in this run, those no longer kept included."""
    progress: str | None = None
    """What the handler last reported, as JSON text."""

    recurrence: Recurrence | None = None
    """The rule of a generator; None for everything else."""
    slots_used: int = 0
    """Generators: how many occurrences of the rule lie before `wait_until`."""
    parent_recurrence_id: str | None = None
    occurrence_timestamp: datetime | None = None

    reader: DataReader | None = None
    """Decodes `data` for a registered kind. Not stored."""

    def __repr__(self) -> str:
        """Name the task without its payload, which may be private and long."""
        return f"OnceTask(id={self.id!r}, kind={self.kind!r}, revision={self.revision}, outcome={self.outcome})"

    @property
    def attempts(self) -> int:
        """The attempts of the normal handler so far, the one in progress included."""
        in_progress = self.lease_uid is not None and not self.in_cleanup
        return self.failures + self.crashes + in_progress

    @property
    def data(self) -> P_co:
        """The payload: of the registered type where the kind is known, else as plain JSON values.

        Decoded at every access: keep it in a variable where that matters.

        Raises:
            PayloadError: The stored payload does not fit the registered type.
        """
        value = plain(self.payload) if self.reader is None else self.reader.read_payload(self.payload)
        return cast(P_co, value)

    def read_as(self, type_: type[T]) -> T:
        """Return the payload decoded as `type_`.

        Raises:
            PayloadError: The stored payload does not fit `type_`.
        """
        return decode_payload(self.payload, type_)

    def result_as(self, type_: type[T]) -> T:
        """Return the result decoded as `type_`; a task without a result reads as JSON null.

        Raises:
            PayloadError: The stored result does not fit `type_`.
        """
        return decode_value(self.result if self.result is not None else "null", type_)

    def status(self, now: datetime) -> TaskStatus:
        """Return the task's status at `now` (aware)."""
        return status_of(self, now)

    @property
    def is_generator(self) -> bool:
        """Whether this task only creates occurrences by its recurrence rule."""
        return self.recurrence is not None

    @property
    def is_live(self) -> bool:
        """Whether the task has not reached its end."""
        return self.outcome is None

    @property
    def is_suspect(self) -> bool:
        """Whether a worker vanished while it held this task: it may be what killed it."""
        return self.crashes > 0

    @property
    def idempotency_key(self) -> str:
        """A key for outside services: the same in every attempt of this run, different after a reset."""
        return f"{self.env}/{self.kind}/{self.id}/{self.run_uid}"


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be inserted: what the creator decides. The store adds its time and the sequence."""

    id: str
    kind: str
    payload: str
    run_uid: str
    created_by: str
    wait_until: When = StoreNow()
    resource_key: str | None = None
    strict_order: bool = False
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    headers: Mapping[str, str] = {}
    recurrence: Recurrence | None = None
    slots_used: int = 0
    parent_recurrence_id: str | None = None
    occurrence_timestamp: datetime | None = None


def resolve(when: When, now: datetime) -> datetime:
    """Return the absolute time that `when` means on a store whose clock reads `now`."""
    return now + when.plus if isinstance(when, StoreNow) else when


def born(new: NewTask, *, env: str, now: datetime, sequence: int) -> OnceTask[object]:
    """Return the record of a new task inserted at `now`, unseated."""
    wait_until = resolve(new.wait_until, now)
    return OnceTask(
        id=new.id,
        kind=new.kind,
        env=env,
        payload=new.payload,
        run_uid=new.run_uid,
        created_by=new.created_by,
        created_at=now,
        wait_until=wait_until,
        order_at=order_at(wait_until, new.priority),
        sequence=sequence,
        resource_key=new.resource_key,
        strict_order=new.strict_order,
        queue=new.queue,
        priority=new.priority,
        headers=new.headers,
        recurrence=new.recurrence,
        slots_used=new.slots_used,
        parent_recurrence_id=new.parent_recurrence_id,
        occurrence_timestamp=new.occurrence_timestamp,
    )
