"""The wire format: the Go library's documents come back as they were, type by type."""

from datetime import UTC, datetime

import pytest
from google.cloud.firestore_v1 import _helpers, types

from oncetask_core.claims import leased
from oncetask_core.status import TaskStatus
from oncetask_firestore.reading import Moments, read
from oncetask_firestore.wire import FIELDS, MalformedError, decode, encode
from tests.core.records import a_claim
from tests.firestore import golang
from tests.firestore.golang import NO_WAIT
from tests.firestore.stored import CREATED, GO_DOCUMENTS, Fields, Stored, go_document, message_of

NAMES = sorted(path.stem for path in GO_DOCUMENTS.glob("*.json"))
NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
EMAIL: Fields = {"type": "email", "resourceKey": "", "env": "DEFAULT", "createdAt": "2000-01-01T00:00:00Z"}
EMPTY: Fields = {
    "waitUntil": NO_WAIT,
    "leasedUntil": "",
    "doneAt": "",
    "attempts": 0,
    "errors": None,
    "result": None,
    "recurrence": None,
    "parentRecurrenceId": "",
    "occurrenceTimestamp": "",
    "isCancelled": False,
    "cancelledAt": "",
}
NEW: Fields = EMAIL | EMPTY | {"id": "new", "data": {"id": "new", "n": 7.0}}
SCHEDULED: Fields = NEW | {"id": "sched", "data": {"id": "sched", "n": 1.0}, "waitUntil": "2000-01-01T02:00:00Z"}
BOOMS = [{"at": f"2000-01-01T00:0{minute}:00Z", "error": "boom"} for minute in range(3)]
FAILED: Fields = NEW | {"id": "f", "data": {"id": "f", "n": 0.0}}
GENERATED: Fields = EMAIL | EMPTY | {"data": {"id": "gen", "n": 2.0}}
CANCELLING: Fields = SCHEDULED | {"waitUntil": NO_WAIT, "isCancelled": True, "cancelledAt": "2000-01-01T00:01:12Z"}
DAILY = {"rrule": "FREQ=DAILY", "dtstart": "2000-01-01T09:00:00Z", "exdates": None}
EXAMPLES: dict[str, Fields] = {
    "1 pending": NEW,
    "2 scheduled": SCHEDULED,
    "3 leased": NEW | {"leasedUntil": "2000-01-01T00:10:00Z", "attempts": 1},
    "4 back-off": NEW
    | {
        "waitUntil": "2000-01-01T00:00:02Z",
        "attempts": 1,
        "errors": [{"at": "2000-01-01T00:00:01Z", "error": "boom"}],
    },
    "5 completed": NEW
    | {
        "waitUntil": "2000-01-01T00:00:02Z",
        "doneAt": "2000-01-01T00:01:00Z",
        "attempts": 2,
        "errors": [{"at": "2000-01-01T00:00:01Z", "error": "boom"}],
        "result": {"ok": True, "n": 3, "f": 1.5},
    },
    "6 failed": FAILED
    | {"waitUntil": "2000-01-01T00:01:02Z", "doneAt": "2000-01-01T00:02:00Z", "attempts": 3, "errors": BOOMS},
    "7 cancellation pending": CANCELLING,
    "8 cancelled": CANCELLING | {"doneAt": "2000-01-01T00:02:00Z", "attempts": 1},
    "9 generator": GENERATED | {"id": "gen", "waitUntil": "2000-01-02T09:00:00Z", "attempts": 1, "recurrence": DAILY},
    "10 occurrence": GENERATED
    | {
        "id": "gen_occ_2000-01-01T09:00:00Z",
        "waitUntil": "2000-01-01T09:00:00Z",
        "createdAt": "2000-01-01T09:00:00Z",
        "parentRecurrenceId": "gen",
        "occurrenceTimestamp": "2000-01-01T09:00:00Z",
    },
    "11 reset": FAILED | {"errors": []},
}
"""The examples of the specification, by number and state."""
STATUSES = {
    "01": "pending", "02": "waiting", "03": "pending", "04": "cancellationPending", "05": "waiting", "06": "waiting",
    "07": "leased", "08": "completed", "09": "pending", "10": "completed", "11": "completed", "12": "waiting",
    "13": "pending", "14": "cancelled", "15": "cancelled", "16": "waiting", "17": "completed", "18": "waiting",
    "19": "completed", "20": "leased", "21": "pending", "22": "completed",
}  # fmt: skip
"""By the number in the document's name, at `NOW`."""
WRONG: dict[str, object] = {
    "id": 7,
    "type": 7,
    "data": [1],
    "resourceKey": 7,
    "env": b"x",
    "waitUntil": datetime(2030, 1, 1, tzinfo=UTC),
    "leasedUntil": "tomorrow",
    "createdAt": "2030-01-01",
    "doneAt": "2030-13-01T00:00:00Z",
    "attempts": "three",
    "errors": {"at": ""},
    "recurrence": "FREQ=DAILY",
    "parentRecurrenceId": 1.5,
    "occurrenceTimestamp": "2030-01-01T00:00:00",
    "isCancelled": "no",
    "cancelledAt": "9999-12-31T23:59:59-01:00",
}


class TestRoundTrip:
    def test_there_are_thirty_documents_of_the_go_library(self) -> None:
        """Every state and type of result."""
        assert len(NAMES) == 30

    @pytest.mark.parametrize("name", NAMES)
    def test_a_document_of_the_go_library_comes_back_type_by_type(self, name: str) -> None:
        """Integers, doubles, nulls and empty arrays are told apart."""
        fields = go_document(name)

        assert message_of(encode(decode(fields))) == message_of(fields)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_an_example_of_the_specification_comes_back_type_by_type(self, name: str) -> None:
        """Those that are examples of one document's life included."""
        fields = EXAMPLES[name]

        assert set(fields) == set(FIELDS.values())
        assert message_of(encode(decode(fields))) == message_of(fields)

    @pytest.mark.parametrize("name", NAMES)
    def test_values_are_those_of_googles_client(self, name: str) -> None:
        """We make and read messages by ourselves; its own functions say the same."""
        ours = message_of(go_document(name))
        theirs = types.Document(fields=_helpers.encode_dict(go_document(name)))

        assert ours == types.Document.pb(theirs)
        assert _helpers.decode_dict(theirs.fields, None) == go_document(name)

    def test_what_firestore_has_no_type_for_is_refused(self) -> None:
        """Nothing is written as something else."""
        with pytest.raises(TypeError, match="no type for set"):
            message_of({"field": {1}})

    def test_a_double_and_an_int_are_two_things(self) -> None:
        """The comparison would see a difference."""
        assert message_of({"n": 7.0}) != message_of({"n": 7})

    def test_what_is_missing_or_null_reads_as_empty(self) -> None:
        """As it does in Go."""
        wire = decode({"id": "a", "type": "kind", "leasedUntil": None, "data": None})

        assert wire == decode({"id": "a", "type": "kind"})
        assert (wire.leased_until, wire.attempts, wire.errors, wire.is_cancelled) == ("", 0, None, False)


class TestReading:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_document_of_the_go_library_has_the_status_that_go_derives(self, name: str) -> None:
        """Told by the table of the documents and by Go's own rules."""
        fields = go_document(name)

        status = Stored(fields).task.status(NOW)

        assert status == STATUSES[name[:2]] == TaskStatus(golang.status(fields, NOW))

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_an_example_has_the_status_that_go_derives(self, name: str) -> None:
        """At a time within its life."""
        now = datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)

        assert Stored(EXAMPLES[name]).task.status(now) == golang.status(EXAMPLES[name], now)

    def test_payload_and_result_read_as_json(self) -> None:
        """Integral doubles as ints, bytes as base64, timestamps as RFC 3339."""
        new, completed = Stored(go_document("01-new")).task, Stored(go_document("08-completed-struct-result")).task

        assert new.read_as(dict)["body"]["big"] == 9007199254740992
        assert type(new.read_as(dict)["body"]["i"]) is int
        assert completed.result_as(dict) == {
            "blob": "AP8=",
            "empty": None,
            "f": 1.5,
            "n": 3,
            "ok": True,
            "tags": ["a", "b"],
            "when": "2020-01-02T03:04:05.678901Z",
        }

    def test_a_waiting_time_with_an_offset_is_that_instant(self) -> None:
        """The Go library writes one into the next slot of such a generator."""
        task = Stored(go_document("18-generator-ticked-offset")).task

        assert task.wait_until == datetime(2026, 11, 22, 2, 29, 39, tzinfo=UTC)

    def test_a_lease_of_go_is_a_lease(self) -> None:
        """It has a name of its own, an end, and nobody takes it for ours."""
        task = Stored(go_document("07-leased")).task

        assert task.lease_uid is not None
        assert task.lease_uid.startswith("go:")
        assert task.leased_until == datetime(2026, 11, 21, 2, 30, 28, tzinfo=UTC)

    @pytest.mark.parametrize("field", WRONG)
    def test_a_malformed_document_is_told_as_such(self, field: str) -> None:
        """The field, or the text that is no time, is named; nothing else is raised."""
        fields = EXAMPLES["1 pending"] | {field: WRONG[field]}

        with pytest.raises(MalformedError) as caught:
            read(fields, Moments(CREATED, CREATED))

        assert field in str(caught.value) or repr(WRONG[field]) in str(caught.value)

    @pytest.mark.parametrize("field", ["oncetask", "oncetaskPayload", "oncetaskResult", "oncetaskProgress"])
    def test_a_malformed_field_of_ours_is_told_as_such(self, field: str) -> None:
        """Whatever somebody wrote into it."""
        with pytest.raises(MalformedError, match=field):
            read(EXAMPLES["1 pending"] | {field: 7}, Moments(CREATED, CREATED))


class TestWriting:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_claim_of_a_document_of_go_writes_a_lease_and_never_a_payload(self, name: str) -> None:
        """Payload, result and what never changes are left alone; the rest is as two sides need it."""
        document = Stored(go_document(name))
        task = document.task

        document.change(leased(task, a_claim(), now=NOW, epoch=8))

        (fields,) = document.written
        assert set(fields) <= {"oncetask", "leasedUntil", "attempts", "waitUntil", "doneAt"}
        assert fields["attempts"] == go_document(name)["attempts"] + 1
        assert document.task == leased(task, a_claim(), now=NOW, epoch=8)
        assert document.fields["waitUntil"] != NO_WAIT
