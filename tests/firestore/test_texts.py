"""Times, names and values: rounding is safe, no two names meet, and JSON comes back as it was."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud.firestore_v1 import GeoPoint
from hypothesis import given
from hypothesis import strategies as some

from oncetask_core.errors import ConfigurationError
from oncetask_firestore.names import MOST_BYTES, PREFIX, check_ids, document_name, scoped_name
from oncetask_firestore.texts import (
    NO_WAIT,
    exact,
    from_micros,
    parsed,
    rounded_down,
    rounded_up,
    to_micros,
)
from oncetask_firestore.values import kept_text, payload_value, result_value, to_text
from tests.firestore.stored import decoded, message_of

SECOND = timedelta(seconds=1)
times = some.datetimes(timezones=some.just(UTC))
texts = some.text(alphabet=some.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
json_values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(min_value=-(2**70), max_value=2**70)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(alphabet=some.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
)


class TestTimes:
    @given(times)
    def test_a_waiting_time_is_never_early_and_a_lease_never_late(self, time: datetime) -> None:
        """Each by less than a second, except at the edges of the calendar; neither is NoWait."""
        up, down = parsed(rounded_up(time)), parsed(rounded_down(time))

        assert rounded_up(time) != NO_WAIT
        assert up is not None
        assert up + SECOND > time if time > datetime.max.replace(tzinfo=UTC) - SECOND else time <= up <= time + SECOND
        assert down is None or time - SECOND < down <= time

    @given(times, times)
    def test_texts_are_in_the_order_of_their_times(self, one: datetime, other: datetime) -> None:
        """Firestore compares texts."""
        early, late = sorted((one, other))

        assert rounded_up(early) <= rounded_up(late)
        assert rounded_down(early) <= rounded_down(late)

    @given(times)
    def test_an_exact_time_counts_while_it_rounds_to_its_text(self, time: datetime) -> None:
        """Another text is another time."""
        assert exact(to_micros(time), rounded_up(time), rounded_up) == time
        assert exact(to_micros(time), "2031-01-01T00:00:00Z", rounded_down) == datetime(2031, 1, 1, tzinfo=UTC)
        assert exact(to_micros(time), "", rounded_down) is None
        assert from_micros(to_micros(time)) == time

    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("", None),
            (NO_WAIT, None),
            ("2030-01-02T03:04:05Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
            ("2030-01-02T03:04:05.5Z", datetime(2030, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
            ("2030-01-02T03:04:05.123456789+05:30", datetime(2030, 1, 1, 21, 34, 5, 123456, tzinfo=UTC)),
        ],
    )
    def test_what_go_reads_is_read(self, text: str, time: datetime | None) -> None:
        """Any RFC 3339 text."""
        assert parsed(text) == time

    @pytest.mark.parametrize(
        "text", ["soon", "2030-01-02", "2030-01-02 03:04:05Z", "2030-02-30T00:00:00Z", "0001-01-01T00:00:00+01:00"]
    )
    def test_what_go_does_not_read_is_refused(self, text: str) -> None:
        """And so is what no calendar of ours has."""
        with pytest.raises(ValueError, match=r"is no (RFC 3339 )?time"):
            parsed(text)


class TestNames:
    @given(some.tuples(texts, texts), some.tuples(texts, texts))
    def test_no_two_share_a_document(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Whatever stands in environments and ids; the default environment included."""
        names = {document_name(task_id, env=env, ids="scoped") for env, task_id in (one, other)}

        assert len(names) == len({one, other})

    @pytest.mark.parametrize("task_id", ["a/b", ".", "..", "__x__", f"{PREFIX}a", "x" * 512, "/" * 512, "%2F", "a:b#c"])
    @pytest.mark.parametrize("env", ["DEFAULT", "a/b:c", "é" * 64])
    def test_every_id_has_a_name_that_firestore_takes(self, task_id: str, env: str) -> None:
        """One segment of a path, short enough, not reserved."""
        for ids in ("scoped", "verbatim"):
            name = document_name(task_id, env=env, ids=check_ids(ids))

            assert "/" not in name
            assert name not in {".", ".."}
            assert not (name.startswith("__") and name.endswith("__"))
            assert len(name.encode()) <= MOST_BYTES

    def test_plain_ids_are_names_where_go_has_them(self) -> None:
        """In the default environment, or everywhere on request."""
        assert document_name("report_occ_2026-01-05T09:00:00Z", env="DEFAULT", ids="scoped") == (
            "report_occ_2026-01-05T09:00:00Z"
        )
        assert document_name("a", env="staging", ids="verbatim") == "a"
        assert document_name("a", env="staging", ids="scoped") == scoped_name("staging", "a") == f"{PREFIX}staging:a"

    def test_an_unknown_way_is_refused(self) -> None:
        """With the ways that there are."""
        with pytest.raises(ConfigurationError, match=r"'scoped'.*'verbatim'"):
            check_ids("hashed")


class TestValues:
    @given(json_values, some.sampled_from([None, 1]))
    def test_json_comes_back_character_by_character(self, value: object, indent: int | None) -> None:
        """Through Firestore's own types, by the value alone or by the text beside it."""
        text = json.dumps(value, indent=indent)
        for stored in (payload_value(text), result_value(text)):
            kept = kept_text(text, stored)
            back = decoded(message_of({"field": stored}))["field"]

            assert kept == text or to_text(back) == text

    @pytest.mark.parametrize(
        "text",
        [
            "[1]",
            '"text"',
            "1",
            '{"a":[[1]]}',
            '{"":1}',
            '{"__x__":1}',
            '{"n":18446744073709551616}',
            '{"n":1e999}',
            '{"a":' * 30 + "1" + "}" * 30,
        ],
    )
    def test_what_firestore_cannot_hold_as_a_payload_is_wrapped(self, text: str) -> None:
        """Go would refuse another type, or Firestore the value."""
        assert payload_value(text) == {"json": text}

    def test_the_text_stands_beside_the_value_only_where_it_says_more(self) -> None:
        """Keys in order and shortest numbers say nothing more."""
        assert kept_text('{"a":1,"b":[true,null,2.5]}', payload_value('{"a":1,"b":[true,null,2.5]}')) is None
        assert kept_text('{"b":1,"a":2}', payload_value('{"b":1,"a":2}')) == '{"b":1,"a":2}'
        assert kept_text('{"n":1.0}', payload_value('{"n":1.0}')) == '{"n":1.0}'

    def test_types_that_json_has_not_have_a_text(self) -> None:
        """Results of Go handlers may hold them."""
        value = {"g": GeoPoint(1.0, 2.5), "n": float("nan"), "big": 1e300, "t": datetime(2030, 1, 1, tzinfo=UTC)}

        assert json.loads(to_text(value)) == {
            "g": {"latitude": 1, "longitude": 2.5},
            "n": "nan",
            "big": 1e300,
            "t": "2030-01-01T00:00:00Z",
        }
