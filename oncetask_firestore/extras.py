"""What we add to a document: one map, and three texts beside it. The Go library keeps it and never looks at it.

The map carries stamps of the write that it belongs to. Where a stamp does not fit the document any more, a Go worker
wrote last, and `reading` says what that means.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from oncetask_core.status import Outcome
from oncetask_core.task import DEFAULT_QUEUE
from oncetask_firestore.wire import MalformedError, WireTask

EXTRAS = "oncetask"
"""The field with the map."""
PAYLOAD_TEXT = "oncetaskPayload"
RESULT_TEXT = "oncetaskResult"
PROGRESS = "oncetaskProgress"
LEASE = f"{EXTRAS}.lease"
SUSPECT = f"{EXTRAS}.suspect"
STRICT = f"{EXTRAS}.strict"


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """What only a claim, an end or a reset changes: where it differs, Go has taken the task over."""

    done_at: str
    leased_until: str
    attempts: int


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What Go may change without taking the task over."""

    wait_until: str
    is_cancelled: bool
    cancelled_at: str
    errors: int


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the history."""

    at: int
    attempt: int
    error: str | None = None
    """The text of an expiry; a reported failure has its text in the document's `errors`."""
    text_at: str = ""
    """Of a reported failure: the time beside its text."""


class Extras(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The map. Times are microseconds since 1970."""

    run: str
    created_by: str
    created_at: int
    wait_until: int
    order_at: int | None = None
    """Only where it does not follow from the waiting time and the priority."""
    sequence: int
    strict: bool = False
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    headers: dict[str, str] = {}
    lease: str | None = None
    leased_by: str | None = None
    leased_until: int | None = None
    place: int = 0
    """The task's place in the claim that holds it."""
    epoch: int = 0
    in_cleanup: bool = False
    started_at: int | None = None
    revision: int = 0
    settled_by: tuple[str, ...] = ()
    claims: int = 0
    failures: int = 0
    crashes: int = 0
    suspect: bool = False
    """Whether there were crashes: what queries ask for."""
    cleanup_attempts: int = 0
    cancelled_at: int | None = None
    done_at: int | None = None
    outcome: Outcome | None = None
    errors: tuple[Entry, ...] = ()
    error_count: int = 0
    rule: dict[str, Any] | None = None
    """The rule, where the document's `recurrence` does not say all of it."""
    slots_used: int = 0
    occurrence: int | None = None
    stamp: Stamp
    seen: Seen
    write: str = ""
    """A random name of the latest write: by it a lost reply is resolved."""
    aside: str | None = None
    """Why the document was set aside: it could not be read."""


def stamp_of(wire: WireTask) -> Stamp:
    """Return the stamp that fits a document."""
    return Stamp(wire.done_at, wire.leased_until, wire.attempts)


def seen_of(wire: WireTask) -> Seen:
    """Return the second stamp that fits a document."""
    return Seen(wire.wait_until, wire.is_cancelled, wire.cancelled_at, len(wire.errors or ()))


def decode_extras(fields: Mapping[str, Any]) -> Extras | None:
    """Return the map of a document, or None where we never wrote.

    Raises:
        MalformedError: It holds what no version of this library has written, or the document was set aside.
    """
    value = fields.get(EXTRAS)
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("aside"), str):
        raise MalformedError(value["aside"])
    try:
        return msgspec.convert(value, Extras)
    except msgspec.ValidationError as error:
        raise MalformedError(f"the field {EXTRAS!r} cannot be read: {error}") from error


def encode_extras(extras: Extras) -> dict[str, Any]:
    """Return the map as Firestore values."""
    fields: dict[str, Any] = msgspec.to_builtins(extras)
    return fields
