"""Rows and records: the only place that knows how a field of `OnceTask` lies in its column.

`decode` reads a row by position, because it runs for every task that is claimed; `encode` writes by name.
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args

import msgspec

from oncetask_core.errors import StoreError
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask, OnceTask, StoreNow, TaskError, born
from oncetask_sql.times import from_micros, to_micros

Task = OnceTask[object]
Row = tuple[Any, ...]
"""The values of `COLUMNS`, then `quarantined`."""

COLUMNS: Final = tuple(name for name in OnceTask.__struct_fields__ if name != "reader")
_ID: Final = COLUMNS.index("id")
_SEQUENCE: Final = COLUMNS.index("sequence")
SELECTED: Final = ", ".join((*COLUMNS, "quarantined"))
BORN: Final = (
    "env", "id", "kind", "payload", "run_uid", "created_by", "created_at", "wait_until", "order_at", "resource_key",
    "strict_order", "queue", "priority", "headers", "recurrence", "slots_used", "parent_recurrence_id",
    "occurrence_timestamp",
)  # fmt: skip
"""What an insert writes; every other column has its default."""

_errors = msgspec.json.Decoder(tuple[TaskError, ...])
_settled_by = msgspec.json.Decoder(tuple[str, ...])
_headers = msgspec.json.Decoder(dict[str, str])
_recurrence = msgspec.json.Decoder(Recurrence)
_json = msgspec.json.Encoder()


class UnreadableRowError(StoreError):
    """A row that holds what no version of this library has written.

    Attributes:
        task_id: The task.
        sequence: The number of its row.
        reason: What is wrong with its row.
    """

    def __init__(self, row: Row, reason: str) -> None:
        super().__init__(f"the row of task {row[_ID]!r} cannot be read: {reason}")
        self.task_id = str(row[_ID])
        self.sequence: int = row[_SEQUENCE]
        self.reason = reason


def decode(row: Row) -> Task:
    """Return the record of a row.

    Raises:
        UnreadableRowError: The row is damaged, or was set aside because it was.
    """
    if row[-1] is not None:
        raise UnreadableRowError(row, str(row[-1]))
    try:
        return _checked(_record(row))
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise UnreadableRowError(row, _fault(row) or str(error)) from error


def decode_all(rows: Sequence[Row]) -> tuple[list[Task], list[UnreadableRowError]]:
    """Return the records of the rows in order, and what is wrong with those that cannot be read."""
    tasks: list[Task] = []
    faults: list[UnreadableRowError] = []
    for row in rows:
        try:
            tasks.append(decode(row))
        except UnreadableRowError as fault:
            faults.append(fault)
    return tasks, faults


def reasons(faults: Iterable[UnreadableRowError]) -> dict[str, str]:
    """Return why rows cannot be read, by task id."""
    return {fault.task_id: fault.reason for fault in faults}


def _fault(row: Row) -> str | None:
    """Return which column cannot be read, what it holds, and why: slow, and asked of rows that have failed alone."""
    for name, value in zip(COLUMNS, row, strict=False):
        if value is None and name in _OPTIONAL:
            continue
        try:
            _READERS.get(name, _check_text)(value)
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            shown = reprlib.repr(value)
            return f"column {name!r} holds {shown}: {error}"
    return None


def _record(row: Row) -> Task:
    (
        task_id, kind, env, payload, run_uid, created_by, created_at, wait_until, order_at, sequence, resource_key,
        strict_order, head_key, queue, priority, headers, lease_uid, leased_by, leased_until, epoch, in_cleanup,
        started_at, revision, settled_by, claims, failures, crashes, cleanup_attempts, is_cancelled, cancelled_at,
        done_at, outcome, result, errors, error_count, progress, recurrence, slots_used, parent_recurrence_id,
        occurrence_timestamp, _,
    ) = row  # fmt: skip
    return OnceTask(
        id=task_id,
        kind=kind,
        env=env,
        payload=payload,
        run_uid=run_uid,
        created_by=created_by,
        created_at=from_micros(created_at),
        wait_until=from_micros(wait_until),
        order_at=from_micros(order_at),
        sequence=sequence,
        resource_key=resource_key,
        strict_order=bool(strict_order),
        head_key=head_key,
        queue=queue,
        priority=priority,
        headers=_headers.decode(headers) if headers != "{}" else {},
        lease_uid=lease_uid,
        leased_by=leased_by,
        leased_until=None if leased_until is None else from_micros(leased_until),
        epoch=epoch,
        in_cleanup=bool(in_cleanup),
        started_at=None if started_at is None else from_micros(started_at),
        revision=revision,
        settled_by=_settled_by.decode(settled_by) if settled_by != "[]" else (),
        claims=claims,
        failures=failures,
        crashes=crashes,
        cleanup_attempts=cleanup_attempts,
        is_cancelled=bool(is_cancelled),
        cancelled_at=None if cancelled_at is None else from_micros(cancelled_at),
        done_at=None if done_at is None else from_micros(done_at),
        outcome=None if outcome is None else Outcome(outcome),
        result=result,
        errors=_errors.decode(errors) if errors != "[]" else (),
        error_count=error_count,
        progress=progress,
        recurrence=None if recurrence is None else _recurrence.decode(recurrence),
        slots_used=slots_used,
        parent_recurrence_id=parent_recurrence_id,
        occurrence_timestamp=None if occurrence_timestamp is None else from_micros(occurrence_timestamp),
    )


def _checked(task: Task) -> Task:
    """Return the task, once its counters are known to be integers and its texts to be text."""
    counters = task.priority + task.epoch + task.revision + task.claims + task.failures
    _check_total(counters + task.crashes + task.cleanup_attempts + task.error_count + task.slots_used)
    names = task.id + task.kind + task.run_uid + task.created_by + task.queue
    _check_texts(names + (task.resource_key or ""), task.payload)
    return task


def _check_total(total: object) -> None:
    """Refuse counters of which one is no integer: their sum is none, where it can be formed at all."""
    if type(total) is not int:
        raise TypeError("a counter is no integer")


def _check_texts(joined: str, payload: object) -> None:
    """Refuse binary data where text belongs, and text that was damaged: it holds lone surrogates."""
    if type(payload) is not str:
        raise TypeError("the payload is no text")
    joined.encode()


def _check_text(value: object) -> None:
    if type(value) is not str:
        raise TypeError("it must be text")
    value.encode()


def _check_number(value: object) -> None:
    if not isinstance(value, int):
        raise TypeError("it must be an integer")


_TYPES: Final[Mapping[str, Any]] = {name: OnceTask.__annotations__[name] for name in COLUMNS}
_OPTIONAL: Final = frozenset(name for name, kind in _TYPES.items() if NoneType in get_args(kind))
_TIMES: Final = tuple(name for name, kind in _TYPES.items() if datetime in (kind, *get_args(kind)))
_NUMBERS: Final = tuple(name for name, kind in _TYPES.items() if kind in (int, bool))
NUMERIC: Final = frozenset((*_TIMES, *_NUMBERS))
"""The fields whose columns hold integers."""
_READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    **dict.fromkeys(_TIMES, from_micros),
    **dict.fromkeys(_NUMBERS, _check_number),
    "headers": _headers.decode,
    "settled_by": _settled_by.decode,
    "errors": _errors.decode,
    "recurrence": _recurrence.decode,
    "outcome": Outcome,
}
"""What reads or checks a column; the others are text."""


def _to_json(value: object) -> str:
    return _json.encode(value).decode()


def _to_time(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


def _to_rule(value: Recurrence | None) -> str | None:
    return None if value is None else _to_json(value)


_ENCODERS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(_TIMES, _to_time),
    "headers": _to_json,
    "settled_by": _to_json,
    "errors": _to_json,
    "recurrence": _to_rule,
}


_born_values = attrgetter(*BORN)
_BORN_ENCODERS = tuple((place, _ENCODERS[name]) for place, name in enumerate(BORN) if name in _ENCODERS)


def encode(name: str, value: object, now: datetime) -> object:
    """Return what a column holds for the value of a field; the only place where `StoreNow` becomes a time.

    Args:
        name: The field.
        value: Its value, as in a record or a patch.
        now: The store's time of the transaction.

    Raises:
        OverflowError: A time lies outside the years 1 to 9999.
        ValueError: A text holds lone surrogates.
    """
    encoder = _ENCODERS.get(name)
    if encoder is None:
        return value
    return to_micros(now + value.plus) if isinstance(value, StoreNow) else encoder(value)


def encode_new(new: NewTask, *, env: str, now: datetime) -> list[object]:
    """Return the values of `BORN` for a task that is inserted at `now`.

    Raises:
        OverflowError: A time lies outside the years 1 to 9999.
        ValueError: A text holds lone surrogates.
    """
    values: list[Any] = list(_born_values(born(new, env=env, now=now, sequence=0)))
    for place, encoder in _BORN_ENCODERS:
        values[place] = encoder(values[place])
    return values
