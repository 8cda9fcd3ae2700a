"""From a record to a document: the fields of a new one, and what a change writes of an old one.

What we write is what the Go library would write for the same state, but for these differences: ints stay ints,
`waitUntil` is never NoWait, times are rounded as `texts` says, `errors` keeps the first and the latest failures
only and no expiries, our own final failure sets `attempts` to the number of `errors`, and the fields of `extras` stand
beside them. A change names only the fields that it changes; a payload is never written again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask, TaskError, order_at
from oncetask_firestore.extras import (
    EXTRAS,
    PAYLOAD_TEXT,
    PROGRESS,
    RESULT_TEXT,
    Entry,
    Extras,
    encode_extras,
    seen_of,
    stamp_of,
)
from oncetask_firestore.reading import Document, rule_of
from oncetask_firestore.texts import NO_WAIT, rounded_down, rounded_up, to_micros
from oncetask_firestore.values import kept_text, payload_value, result_value
from oncetask_firestore.wire import FIELDS as ON_WIRE
from oncetask_firestore.wire import WireError, WireRule, WireTask, encode, encode_field

Task = OnceTask[object]


def new_fields(task: Task, *, write: str) -> dict[str, Any]:
    """Return every field of the document of a new task.

    Args:
        task: The record.
        write: The random name of this write.

    Raises:
        ValueError: A text holds lone surrogates.
    """
    data = payload_value(task.payload)
    wire = _timed(WireTask(id=task.id, type=task.kind), task)
    wire = msgspec.structs.replace(
        wire,
        data=data,
        resource_key=task.resource_key or "",
        env=task.env,
        created_at=rounded_down(task.created_at),
        recurrence=None if task.recurrence is None else _wire_rule(task.recurrence),
        parent_recurrence_id=task.parent_recurrence_id or "",
        occurrence_timestamp=_text_of(task.occurrence_timestamp),
    )
    text = kept_text(task.payload, data)
    beside = {} if text is None else {PAYLOAD_TEXT: text}
    return encode(wire) | {EXTRAS: encode_extras(_extras(task, wire, (), write=write))} | beside


def changed_fields(
    before: Document, after: Task, *, write: str, expired: bool = False, place: int | None = None
) -> dict[str, Any]:
    """Return the fields that a change writes.

    Args:
        before: The document as it was read.
        after: The record that it becomes.
        write: The random name of this write.
        expired: Whether an entry that the change adds to the history is an expiry.
        place: The task's place in the claim that is granted, if one is.

    Raises:
        ValueError: A text holds lone surrogates.
    """
    expiries = _expiries(before, after, expired=expired)
    wire = _timed(before.wire, after)
    wire = msgspec.structs.replace(wire, errors=_reported(before, after, expiries))
    wire = msgspec.structs.replace(wire, attempts=_attempts(before, after, wire))
    if after.result != before.task.result:
        wire = msgspec.structs.replace(wire, result=result_value(after.result))
    beside = {RESULT_TEXT: _beside(after.result, wire.result), PROGRESS: after.progress}
    texts = {name: text for name, text in beside.items() if text != before.texts[name]}
    extras = _extras(after, wire, expiries, write=write, place=before.place if place is None else place)
    return _different(before.wire, wire) | {EXTRAS: encode_extras(extras)} | texts


def _beside(result: str | None, value: object) -> str | None:
    """Return the text that is kept beside a result; of a null it tells JSON null from no result."""
    if result is None or value is None:
        return result
    return kept_text(result, value)


def _different(before: WireTask, after: WireTask) -> dict[str, Any]:
    changed = (name for name in ON_WIRE if getattr(before, name) != getattr(after, name))
    return {ON_WIRE[name]: encode_field(name, getattr(after, name)) for name in changed}


def _timed(wire: WireTask, task: Task) -> WireTask:
    """Return the wire record with the texts of what a record is doing."""
    is_done = task.outcome is not None
    return msgspec.structs.replace(
        wire,
        wait_until=_waiting_text(task),
        leased_until="" if task.lease_uid is None else _text_of(task.leased_until),
        done_at=_text_of(task.done_at or task.wait_until) if is_done else "",
        is_cancelled=task.is_cancelled,
        cancelled_at=_text_of(task.cancelled_at),
    )


def _waiting_text(task: Task) -> str:
    """Return the text of the waiting time, which has passed once the task itself may run.

    Of a key that is held it is that of the second before: a Go worker that takes all tasks of a key looks for leases
    among those that are due by their texts, so a task that was claimed within the second has to be among them.
    """
    is_held = task.lease_uid is not None and task.resource_key is not None
    down = rounded_down(task.wait_until)
    return down if is_held and down != NO_WAIT else rounded_up(task.wait_until)


def _text_of(time: datetime | None) -> str:
    return "" if time is None else rounded_down(time)


def _attempts(before: Document, after: Task, wire: WireTask) -> int:
    """Return the attempts that let Go derive the status: more than errors after a success, as many after a failure."""
    known, errors = before.wire.attempts, len(wire.errors or ())
    if after.run_uid != before.task.run_uid:
        return 0
    if after.lease_uid is not None and (after.lease_uid, after.epoch) != (before.task.lease_uid, before.task.epoch):
        return known + 1
    if after.outcome is before.task.outcome or after.outcome is None:
        return known
    return max(known, errors + 1) if after.outcome is Outcome.COMPLETED else _final(after, known, errors)


def _final(after: Task, known: int, errors: int) -> int:
    return errors if after.outcome is Outcome.FAILED else known


def _expiries(before: Document, after: Task, *, expired: bool) -> tuple[bool, ...]:
    """Return which entries of the history are expiries, knowing which of the old ones were."""
    if after.errors == before.task.errors:
        return before.expiries
    known = list(zip(before.task.errors, before.expiries, strict=True))
    return tuple(next((was for old, was in known if old is entry or old == entry), expired) for entry in after.errors)


def _reported(before: Document, after: Task, expiries: Sequence[bool]) -> tuple[WireError, ...] | None:
    if after.run_uid != before.task.run_uid:
        return ()
    if after.errors == before.task.errors:
        return before.wire.errors
    reported = (entry for entry, is_expiry in zip(after.errors, expiries, strict=True) if not is_expiry)
    errors = tuple(WireError(at=rounded_down(entry.at), error=entry.error) for entry in reported)
    return errors or before.wire.errors


def _extras(task: Task, wire: WireTask, expiries: Sequence[bool], *, write: str, place: int = 0) -> Extras:
    derived = task.order_at == order_at(task.wait_until, task.priority)
    return Extras(
        run=task.run_uid,
        created_by=task.created_by,
        created_at=to_micros(task.created_at),
        wait_until=to_micros(task.wait_until),
        order_at=None if derived else to_micros(task.order_at),
        sequence=task.sequence,
        strict=task.strict_order,
        queue=task.queue,
        priority=task.priority,
        headers=dict(task.headers),
        lease=task.lease_uid,
        leased_by=task.leased_by,
        leased_until=_micros(task.leased_until),
        place=place if task.lease_uid is not None else 0,
        epoch=task.epoch,
        in_cleanup=task.in_cleanup,
        started_at=_micros(task.started_at),
        revision=task.revision,
        settled_by=task.settled_by,
        claims=task.claims,
        failures=task.failures,
        crashes=task.crashes,
        suspect=task.is_suspect,
        cleanup_attempts=task.cleanup_attempts,
        cancelled_at=_micros(task.cancelled_at),
        done_at=_micros(task.done_at),
        outcome=task.outcome,
        errors=tuple(_entry(error, is_expiry=one) for error, one in zip(task.errors, expiries, strict=True)),
        error_count=task.error_count,
        rule=_rest_of_rule(task.recurrence, wire.recurrence),
        slots_used=task.slots_used,
        occurrence=_micros(task.occurrence_timestamp),
        stamp=stamp_of(wire),
        seen=seen_of(wire),
        write=write,
    )


def _entry(error: TaskError, *, is_expiry: bool) -> Entry:
    if is_expiry:
        return Entry(at=to_micros(error.at), attempt=error.attempt, error=error.error)
    return Entry(at=to_micros(error.at), attempt=error.attempt, text_at=rounded_down(error.at))


def _micros(time: datetime | None) -> int | None:
    return None if time is None else to_micros(time)


def _wire_rule(rule: Recurrence) -> WireRule:
    exdates = tuple(rounded_down(time) for time in rule.exdates)
    return WireRule(rrule=rule.rrule, dtstart=rounded_down(rule.dtstart), exdates=exdates or None)


def _rest_of_rule(rule: Recurrence | None, wire: WireRule | None) -> dict[str, Any] | None:
    """Return the whole rule where the document's `recurrence` does not say all of it."""
    if rule is None or (wire is not None and rule_of(wire) == rule):
        return None
    whole: dict[str, Any] = msgspec.to_builtins(rule)
    return whole
