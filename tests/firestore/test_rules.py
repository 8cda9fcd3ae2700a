"""The strict rules of shared documents: they find whatever breaks one, and nothing in what keeps them all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from firestore_rules import TYPES, collection_faults, faults

from oncetask_core.claims import leased
from oncetask_core.decisions import Success, conclude, expire
from oncetask_core.transition import applied
from tests.core.records import NOW, RULES, a_claim, a_failure, a_generator, a_task
from tests.firestore import golang
from tests.firestore.stored import GO_DOCUMENTS, Fields, Stored, go_document

HALF = timedelta(milliseconds=500)


def new() -> Fields:
    return Stored.of(a_task(wait_until=NOW + HALF, order_at=NOW + HALF)).fields


def held() -> Fields:
    document = Stored.of(a_task())
    document.change(leased(document.task, a_claim(), now=NOW + HALF, epoch=1))
    return document.fields


def ended(report: Any) -> Fields:
    document = Stored(held())
    transition = conclude(document.task, report, RULES, chance=0.0)
    document.change(applied(document.task, transition, NOW + HALF))
    return document.fields


def completed() -> Fields:
    return ended(Success("1"))


def failed() -> Fields:
    return ended(a_failure(final=True))


def crashed() -> Fields:
    document = Stored(held())
    transition = expire(document.task, RULES, at=NOW + HALF, chance=0.0)
    document.change(applied(document.task, transition, NOW + HALF), expired=True)
    return document.fields


def generator() -> Fields:
    return Stored.of(a_generator()).fields


def of_go() -> Fields:
    return golang.created("t", NOW)


STATES = (new, held, completed, failed, crashed, generator, of_go)
ENTRY = {"at": "2030-01-01T00:00:00Z", "error": "boom"}
PLANTED: dict[str, tuple[Callable[[], Fields], Fields, str]] = {
    "a timestamp": (of_go, {"waitUntil": datetime(2030, 1, 1, tzinfo=UTC)}, "waitUntil is of type"),
    "a double": (of_go, {"attempts": 1.0}, "attempts is of type float"),
    "a truth for a number": (of_go, {"attempts": True}, "attempts is of type bool"),
    "a null for a text": (of_go, {"leasedUntil": None}, "leasedUntil is of type NoneType"),
    "a list as a payload": (of_go, {"data": [1]}, "data is of type list"),
    "a fraction": (of_go, {"createdAt": "2030-01-01T00:00:00.5Z"}, "createdAt is"),
    "an offset": (of_go, {"createdAt": "2030-01-01T00:00:00+00:00"}, "createdAt is"),
    "an offset of ours": (new, {"occurrenceTimestamp": "2030-01-01T00:00:00+05:30"}, "occurrenceTimestamp is"),
    "a day that is none": (of_go, {"createdAt": "2030-02-30T00:00:00Z"}, "createdAt is"),
    "an empty waiting time": (of_go, {"waitUntil": ""}, "waitUntil is empty"),
    "an empty environment": (of_go, {"env": ""}, "env is empty"),
    "fewer than no attempts": (of_go, {"attempts": -1}, "attempts is -1"),
    "an entry with more": (of_go, {"errors": [ENTRY | {"attempt": 1}]}, "an entry of errors"),
    "an entry without a time": (of_go, {"errors": [ENTRY | {"at": ""}]}, "an entry of errors"),
    "an entry that is none": (of_go, {"errors": ["boom"]}, "an entry of errors"),
    "a rule without its beginning": (of_go, {"recurrence": {"rrule": "FREQ=DAILY"}}, "recurrence is"),
    "a rule that begins never": (
        of_go,
        {"recurrence": {"rrule": "FREQ=DAILY", "dtstart": "soon", "exdates": None}},
        "a time of the recurrence",
    ),
    "a field of nobody": (new, {"oncetaskLease": "l"}, "oncetaskLease is no field"),
    "an end under a lease": (held, {"doneAt": "2030-01-01T00:00:00Z"}, "done and leased"),
    "a lease without an attempt": (of_go, {"leasedUntil": "2030-01-01T00:00:00Z"}, "without an attempt"),
    "a cancellation at no time": (of_go, {"isCancelled": True}, "isCancelled is True"),
    "a cancellation by nobody": (of_go, {"cancelledAt": "2030-01-01T00:00:00Z"}, "isCancelled is False"),
    "a slot without a parent": (of_go, {"occurrenceTimestamp": "2030-01-01T00:00:00Z"}, "a slot and no parent"),
    "an occurrence that occurs": (
        generator,
        {"parentRecurrenceId": "g", "occurrenceTimestamp": "2030-01-01T00:00:00Z"},
        "an occurrence and a generator",
    ),
    "a task of two environments": (of_go, {"id": "other"}, "has the name 't'"),
}
"""By what is wrong: a document, what is changed of it, and what the rules say."""
WRITTEN: dict[str, tuple[Callable[[], Fields], Fields, Fields, str]] = {
    "our NoWait": (new, {"waitUntil": golang.NO_WAIT}, {}, "NoWait"),
    "a waiting time rounded down": (new, {"waitUntil": golang.text(NOW)}, {}, "rounded up"),
    "a lease rounded up": (held, {}, {"leasedUntil": 0}, "leasedUntil"),
    "an end at another time": (completed, {}, {"doneAt": 0}, "doneAt"),
    "a lease that only we see": (held, {"leasedUntil": ""}, {}, "our lease is"),
    "a lease that only Go sees": (held, {}, {"lease": None}, "our lease is None"),
    "a leased generator": (
        generator,
        {"leasedUntil": "2030-01-01T00:00:00Z", "attempts": 1},
        {"lease": "l", "leasedUntil": 1893456000000000},
        "we leased a generator",
    ),
    "a success that Go reads as a failure": (completed, {"attempts": 0}, {}, "Go derives failed"),
    "a failure that Go reads as a success": (failed, {"attempts": 2}, {}, "Go derives completed"),
    "a failure with more errors than attempts": (failed, {"attempts": 0}, {}, "it failed, with 0 attempts"),
    "an expiry among the errors": (crashed, {"doneAt": "2030-01-01T00:00:00Z", "errors": [ENTRY]}, {}, "outcome"),
    "an end without an outcome": (completed, {}, {"outcome": None}, "our outcome is None"),
    "a suspect that nobody finds": (crashed, {}, {"suspect": False}, "suspect is False"),
    "a run without a name": (new, {}, {"run": 7}, "oncetask.run is 7"),
    "no waiting time": (new, {}, {"waitUntil": 1.5}, "oncetask.waitUntil is 1.5"),
}
"""As `PLANTED`, but with stamps as if we had written it, and with changes of our map."""


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wrong_with_what_either_side_writes(state: Callable[[], Fields]) -> None:
    """In any state, ours and Go's."""
    assert faults(state(), "t" if state is not generator else "g") == []


@pytest.mark.parametrize("name", sorted(path.stem for path in GO_DOCUMENTS.glob("*.json")))
def test_nothing_is_wrong_with_the_documents_of_the_go_library(name: str) -> None:
    """Its offset in a generator's next slot included."""
    fields = go_document(name)

    assert collection_faults({fields["id"]: fields}) == []


@pytest.mark.parametrize("name", PLANTED)
def test_whatever_breaks_a_rule_of_both_sides_is_found(name: str) -> None:
    """Each by the rule that it breaks."""
    state, change, expected = PLANTED[name]
    document = "g" if state is generator else "t"
    found = faults(state() | change, document)

    assert [fault for fault in found if expected in fault] != []
    assert faults(state(), document) == []


@pytest.mark.parametrize("field", TYPES)
def test_no_field_may_be_missing(field: str) -> None:
    """Null and empty are values."""
    fields = of_go()
    del fields[field]

    assert faults(fields) == [f"{field} is missing"]


@pytest.mark.parametrize("name", WRITTEN)
def test_whatever_breaks_a_rule_of_what_we_write_is_found(name: str) -> None:
    """Where our stamps say that nobody wrote since."""
    state, change, of_map, expected = WRITTEN[name]
    fields = state() | change
    ours = {key: value for key, value in (fields["oncetask"] | of_map).items() if value is not None}
    fields["oncetask"] = ours | stamps(fields)

    assert [fault for fault in faults(fields) if expected in fault] != []


def stamps(fields: Fields) -> Fields:
    seen = [fields[name] for name in ("waitUntil", "isCancelled", "cancelledAt")]
    stamp = [fields[name] for name in ("doneAt", "leasedUntil", "attempts")]
    return {"stamp": stamp, "seen": [*seen, len(fields["errors"] or ())]}


def test_what_go_wrote_since_is_not_measured_by_our_rules() -> None:
    """Its reset leaves NoWait beside our exact time."""
    fields = completed()

    assert faults(fields | golang.reset(fields, NOW)) == []


def test_a_document_that_was_set_aside_is_hidden_from_both_sides() -> None:
    """Whatever else is wrong with it."""
    aside = {"attempts": "three", "waitUntil": "9999-12-31T23:59:59Z", "oncetask": {"aside": "attempts"}}

    assert faults(of_go() | aside) == []
    assert faults(of_go() | aside | {"waitUntil": golang.NO_WAIT}) != []
