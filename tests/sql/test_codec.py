"""Rows and records: what is written is what is read, and damage is recognised."""

import sqlite3
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings

from oncetask_core.task import NewTask, OnceTask, StoreNow, born
from oncetask_sql.codec import BORN, COLUMNS, Row, UnreadableRowError, decode, encode, encode_new
from oncetask_sql.times import from_micros, micros_in, to_micros
from tests.sql.records import NOW, TASKS
from tests.sql.world import Space, new_task


def row_of(task: OnceTask[object]) -> list[object]:
    """Return the row of a record, written field by field."""
    return [*(encode(name, getattr(task, name), NOW) for name in COLUMNS), None]


class TestRoundTrip:
    """What is written is what is read."""

    @settings(max_examples=150, deadline=None)
    @given(task=TASKS)
    def test_a_record_is_read_as_it_was_written(self, task: OnceTask[object]) -> None:
        """Every stored field survives the way through a real table."""
        connection = sqlite3.connect(":memory:")
        connection.execute(f"CREATE TABLE t ({', '.join(COLUMNS)}, quarantined)")
        connection.execute(f"INSERT INTO t VALUES ({', '.join('?' * (len(COLUMNS) + 1))})", row_of(task))
        row: Row = connection.execute("SELECT * FROM t").fetchone()
        connection.close()

        assert decode(row) == task

    def test_every_field_but_the_reader_has_a_column(self, space: Space) -> None:
        """A field that is added to the record is not forgotten here."""
        space.prepare()
        columns = {name for (name,) in space.run("SELECT name FROM pragma_table_xinfo('oncetask_task')")}

        assert set(OnceTask.__struct_fields__) - {"reader"} == set(COLUMNS)
        assert set(COLUMNS) | {"quarantined", "seat_at"} == columns

    def test_an_insert_writes_what_a_birth_sets(self) -> None:
        """A field of a new task that differs from the default of its column is among those that are written."""
        new = NewTask(
            id="a",
            kind="k",
            payload="{}",
            run_uid="r",
            created_by="c",
            resource_key="key",
            strict_order=True,
            queue="q",
            priority=3,
            headers={"a": "b"},
            slots_used=4,
            parent_recurrence_id="g",
            occurrence_timestamp=NOW,
        )
        task = born(new, env="E", now=NOW, sequence=0)
        plain = born(msgspec.structs.replace(new), env="E", now=NOW, sequence=0)
        written = dict(zip(BORN, encode_new(new, env="E", now=NOW), strict=True))
        defaults: OnceTask[object] = OnceTask(
            id="", kind="", env="", payload="", run_uid="", created_by="", created_at=NOW, wait_until=NOW, order_at=NOW
        )
        changed = {name for name in COLUMNS if getattr(task, name) != getattr(defaults, name)}

        assert plain == task
        assert changed <= set(BORN)
        assert written["headers"] == '{"a":"b"}'

    def test_the_stores_now_becomes_a_time(self) -> None:
        """A time relative to the store's clock is resolved on the transaction's time."""
        assert encode("wait_until", StoreNow(timedelta(seconds=1)), NOW) == to_micros(NOW) + 1_000_000


class TestTimes:
    """Times as microseconds."""

    @pytest.mark.parametrize(
        "time",
        [
            datetime.min.replace(tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
        ],
    )
    def test_every_time_is_kept_exactly(self, time: datetime) -> None:
        """From the first to the last microsecond of the calendar."""
        assert from_micros(to_micros(time)) == time
        assert from_micros(to_micros(time)).tzinfo is UTC

    def test_durations_are_exact(self) -> None:
        """No floating point takes part."""
        assert micros_in(timedelta(days=3660, microseconds=1)) == 316_224_000_000_001


DAMAGE: dict[str, tuple[str, object]] = {
    "half a document": ("errors", '[{"at":'),
    "another document": ("settled_by", '{"a": 1}'),
    "a header that is no text": ("headers", '{"a": 1}'),
    "an unknown outcome": ("outcome", "exploded"),
    "a time beyond the calendar": ("wait_until", 2**62),
    "a time that is text": ("created_at", "tomorrow"),
    "a counter that is text": ("revision", "two"),
    "a counter that is a fraction": ("claims", 0.5),
    "a missing number": ("priority", None),
    "binary where text belongs": ("run_uid", b"\xff"),
    "a binary payload": ("payload", b"{}"),
    "damaged text": ("resource_key", "\udcff"),
    "a rule that is none": ("recurrence", "{}"),
}


class TestDamage:
    """Rows that no version of the library has written."""

    @pytest.mark.parametrize("what", DAMAGE)
    def test_damage_is_recognised(self, what: str) -> None:
        """The error names the task, its row and the reason."""
        name, value = DAMAGE[what]
        row = row_of(born(new_task("a", key="k"), env="E", now=NOW, sequence=7))
        row[COLUMNS.index(name)] = value

        with pytest.raises(UnreadableRowError) as caught:
            decode(tuple(row))

        assert (caught.value.task_id, caught.value.sequence) == ("a", 7)
        assert f"column {name!r} holds" in caught.value.reason

    def test_a_row_that_was_set_aside_stays_unreadable(self) -> None:
        """Its reason is the one that was written then."""
        row = row_of(born(new_task("a"), env="E", now=NOW, sequence=7))
        row[-1] = "damaged in March"

        with pytest.raises(UnreadableRowError, match="damaged in March"):
            decode(tuple(row))
