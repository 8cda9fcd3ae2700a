"""From a document to a record: what the fields mean, whoever wrote them last.

We and the Go library write the same documents. What we wrote is read from our own fields, exactly; where their stamp
does not fit the document any more, Go wrote last, and the record follows from the seventeen fields as Go's own status
does: the lease of ours is void, the outcome is derived, and a `doneAt` that is empty again begins a new run.
"""

import hashlib
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from oncetask_core.recurrence import Cursor, Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask, TaskError, order_at
from oncetask_firestore.extras import (
    PAYLOAD_TEXT,
    PROGRESS,
    RESULT_TEXT,
    Entry,
    Extras,
    decode_extras,
    seen_of,
    stamp_of,
)
from oncetask_firestore.generators import standing
from oncetask_firestore.texts import NO_WAIT, exact, from_micros, parsed, rounded_down, rounded_up, to_micros
from oncetask_firestore.values import result_value, to_text
from oncetask_firestore.wire import MalformedError, WireRule, WireTask, decode

Task = OnceTask[object]

GO = "a Go worker"
"""Who holds what we did not lease, and who created what we did not create."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document that could be read.

    Attributes:
        wire: The seventeen fields.
        extras: Our own map, if we ever wrote.
        task: The record.
        expiries: For each entry of `task.errors`, whether it is an expiry, which only our own fields keep.
        place: Its place in the claim that holds it.
        texts: The texts beside our map, by field.
    """

    wire: WireTask
    extras: Extras | None
    task: Task
    expiries: tuple[bool, ...]
    place: int
    texts: Mapping[str, str | None]


class Moments(msgspec.Struct, frozen=True):
    """When the store created a document and when it was last written, in microseconds."""

    created: int
    updated: int


def read(fields: Mapping[str, Any], moments: Moments) -> Document:
    """Return what a document says.

    Raises:
        MalformedError: It cannot be read, or was set aside because it could not.
    """
    try:
        return _Reading(fields, moments).document()
    except MalformedError:
        raise
    except (ValueError, OverflowError) as error:
        raise MalformedError(str(error)) from error


def rule_of(wire: WireRule) -> Recurrence:
    """Return the rule that the document's `recurrence` says.

    Raises:
        ValueError: A time of it is none.
    """
    exdates = (_instant(text) for text in wire.exdates or ())
    return Recurrence(rrule=wire.rrule, dtstart=_instant(wire.dtstart), exdates=tuple(exdates))


def _instant(text: str) -> datetime:
    time = parsed(text)
    if time is None:
        raise ValueError("a time of the recurrence is empty")
    return time


class _Reading:
    """One document while it is read."""

    def __init__(self, fields: Mapping[str, Any], moments: Moments) -> None:
        extras = decode_extras(fields)
        wire = decode(fields)
        self.wire = wire
        self.moments = moments
        self.texts = {name: _text(fields, name) for name in (PAYLOAD_TEXT, RESULT_TEXT, PROGRESS)}
        self.extras = extras
        self.known = extras or _unknown(wire, moments)
        created_by_go = wire.wait_until == NO_WAIT and not wire.is_cancelled
        ended_again = bool(wire.done_at) and self.known.seen != seen_of(wire)
        self.by_go = extras is None or extras.stamp != stamp_of(wire) or created_by_go or ended_again
        self.new_run = extras is not None and (created_by_go or _was_reset(extras, wire))

    def document(self) -> Document:
        history, expiries = self._history()
        task = msgspec.structs.replace(self._ours(), errors=history, **self._changes())
        place = 0 if self.by_go else self.known.place
        return Document(wire=self.wire, extras=self.extras, task=task, expiries=expiries, place=place, texts=self.texts)

    def _ours(self) -> Task:
        """Return the record as it is when the last write was ours, but for what Go may change unnoticed."""
        wire, known = self.wire, self.known
        created_at = exact(known.created_at, wire.created_at, rounded_down) or from_micros(self.moments.created)
        rule = self._rule()
        stands = self._standing(rule)
        wait_until = exact(known.wait_until, wire.wait_until, rounded_up, rounded_down)
        wait_until = wait_until or (created_at if stands is None else stands.slot)
        is_exact = known.order_at is not None and to_micros(wait_until) == known.wait_until
        return OnceTask(
            id=wire.id,
            kind=wire.type,
            env=wire.env,
            payload=self.texts[PAYLOAD_TEXT] or to_text(wire.data),
            run_uid=known.run,
            created_by=known.created_by,
            created_at=created_at,
            wait_until=wait_until,
            order_at=from_micros(known.order_at or 0) if is_exact else order_at(wait_until, known.priority),
            sequence=known.sequence,
            resource_key=wire.resource_key or None,
            strict_order=known.strict,
            queue=known.queue,
            priority=known.priority,
            headers=known.headers,
            lease_uid=known.lease,
            leased_by=known.leased_by,
            leased_until=_time(known.leased_until),
            epoch=known.epoch,
            in_cleanup=known.in_cleanup,
            started_at=_time(known.started_at),
            revision=self._revision(),
            settled_by=known.settled_by,
            claims=known.claims,
            failures=known.failures,
            crashes=known.crashes,
            cleanup_attempts=known.cleanup_attempts,
            is_cancelled=wire.is_cancelled,
            cancelled_at=exact(known.cancelled_at, wire.cancelled_at, rounded_down),
            done_at=_time(known.done_at),
            outcome=known.outcome,
            result=self._result(),
            progress=self.texts[PROGRESS],
            recurrence=rule,
            slots_used=known.slots_used if stands is None else stands.used,
            parent_recurrence_id=wire.parent_recurrence_id or None,
            occurrence_timestamp=exact(known.occurrence, wire.occurrence_timestamp, rounded_down),
        )

    def _revision(self) -> int:
        """Return a number that tells apart whatever Go wrote: it never moves ours, but the store's time of writing."""
        unchanged = not self.by_go and self.known.seen == seen_of(self.wire)
        return self.known.revision if unchanged else max(self.known.revision + 1, self.moments.updated)

    def _result(self) -> str | None:
        kept, value = self.texts[RESULT_TEXT], self.wire.result
        if kept is not None and result_value(kept) == value and not (value is None and self.by_go):
            return kept
        return None if value is None else to_text(value)

    def _standing(self, rule: Recurrence | None) -> Cursor | None:
        """Return where a generator stands, if Go was the last to move it."""
        wire = self.wire
        moved = self.extras is None or self.known.seen.wait_until != wire.wait_until
        if rule is None or wire.is_cancelled or wire.done_at or not moved:
            return None
        return standing(rule, parsed(wire.wait_until))

    def _rule(self) -> Recurrence | None:
        if self.wire.recurrence is None:
            return None
        if self.known.rule is not None:
            return msgspec.convert(self.known.rule, Recurrence)
        return rule_of(self.wire.recurrence)

    def _changes(self) -> dict[str, Any]:
        """Return the fields that differ from ours because Go wrote last."""
        added = self._added()
        changes: dict[str, Any] = {"error_count": self.known.error_count + added}
        changes["failures"] = self.known.failures + added
        if self.by_go:
            changes |= self._lease() | self._end()
        if self.new_run:
            changes |= self._new_run()
        return changes

    def _added(self) -> int:
        """Return how many failures Go reported since our last write."""
        return max(len(self.wire.errors or ()) - self.known.seen.errors, 0)

    def _lease(self) -> dict[str, Any]:
        wire, until = self.wire, parsed(self.wire.leased_until)
        if until is None:
            return {"lease_uid": None, "leased_by": None, "leased_until": None}
        name = f"go:{wire.leased_until}:{wire.attempts}:{self.moments.created}"
        return {"lease_uid": name, "leased_by": GO, "leased_until": until, "in_cleanup": False}

    def _end(self) -> dict[str, Any]:
        done_at = parsed(self.wire.done_at)
        if done_at is None:
            return {"done_at": None, "outcome": None}
        return {"done_at": exact(self.known.done_at, self.wire.done_at, rounded_down), "outcome": _derived(self.wire)}

    def _new_run(self) -> dict[str, Any]:
        failures = len(self.wire.errors or ())
        return {
            "run_uid": hashlib.sha256(f"{self.known.run} reset".encode()).hexdigest()[:32],
            "started_at": None,
            "settled_by": (),
            "claims": self.wire.attempts,
            "failures": failures,
            "error_count": failures,
            "crashes": 0,
            "cleanup_attempts": 0,
            "in_cleanup": False,
            "progress": None,
        }

    def _history(self) -> tuple[tuple[TaskError, ...], tuple[bool, ...]]:
        """Return the errors of the run, and which of them are expiries."""
        reported = list(self.wire.errors or ())
        entries = () if self.new_run else self.known.errors
        read = [_entry(entry, reported) for entry in entries]
        known = [one for one in read if one is not None]
        behind = reported[len(reported) - self._added() :] if not self.new_run else reported
        count = 0 if self.new_run else self.known.error_count
        added = [
            TaskError(at=parsed(one.at) or from_micros(self.moments.updated), error=one.error, attempt=count + number)
            for number, one in enumerate(behind, start=1)
        ]
        expiries = [is_expiry for is_expiry, _ in known] + [False] * len(added)
        return (*(error for _, error in known), *added), tuple(expiries)


def _entry(entry: Entry, reported: list[Any]) -> tuple[bool, TaskError] | None:
    """Return an entry of the history, taking the text of a reported failure from the document's next one."""
    at = from_micros(entry.at)
    if entry.error is not None:
        return True, TaskError(at=at, error=entry.error, attempt=entry.attempt)
    for place, one in enumerate(reported):
        if one.at == entry.text_at:
            del reported[: place + 1]
            return False, TaskError(at=at, error=one.error, attempt=entry.attempt)
    return None


def _was_reset(extras: Extras, wire: WireTask) -> bool:
    """Return whether a Go worker reset the task since: nothing else takes back an end, or lowers what is counted."""
    reopened = bool(extras.stamp.done_at) and not wire.done_at
    return reopened or wire.attempts < extras.stamp.attempts or len(wire.errors or ()) < extras.seen.errors


def _derived(wire: WireTask) -> Outcome:
    if wire.is_cancelled:
        return Outcome.CANCELLED
    return Outcome.COMPLETED if wire.attempts > len(wire.errors or ()) else Outcome.FAILED


def _unknown(wire: WireTask, moments: Moments) -> Extras:
    """Return what is known of a document that we never wrote."""
    created = parsed(wire.created_at)
    second = moments.created // 1_000_000 if created is None else to_micros(created) // 1_000_000
    return Extras(
        run=f"go:{moments.created}",
        created_by=GO,
        created_at=0,
        wait_until=0,
        sequence=second * 1_000_000_000 + zlib.crc32(wire.id.encode()) % 1_000_000_000,
        claims=wire.attempts,
        stamp=stamp_of(wire),
        seen=msgspec.structs.replace(seen_of(wire), errors=0),
    )


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros).astimezone(UTC)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedError(f"the field {name!r} is a string, not {type(value).__name__}")
    return value
