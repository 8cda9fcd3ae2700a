"""The schema: how it comes about, and that nobody works on another one."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from oncetask_core.errors import SchemaError, StoreError
from oncetask_sql import migrations, schema
from oncetask_sql.__main__ import main
from oncetask_sql.sqlite import opening
from tests.asynchronous import asynchronous
from tests.sql.world import Space, new_task

OURS = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'oncetask%' AND sql IS NOT NULL"


def shape(path: Path) -> tuple[dict[str, set[tuple[object, ...]]], dict[str, str]]:
    """Return the columns of every table of ours, and the words of every index."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        objects = dict(connection.execute(OURS).fetchall())
        tables = [name for name, sql in objects.items() if sql.startswith("CREATE TABLE")]
        columns = {
            table: set(
                connection.execute(
                    'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (table,)
                ).fetchall()
            )
            for table in tables
        }
    return columns, {name: " ".join(sql.split()) for name, sql in objects.items() if name not in tables}


class TestMigrating:
    """How a schema is created and brought forward."""

    def test_the_migrations_make_what_the_schema_describes(self, space: Space, tmp_path: Path) -> None:
        """Columns, defaults and indexes are those of the SQLAlchemy tables."""
        space.prepare()
        described = tmp_path / "described.db"
        engine = create_engine(f"sqlite:///{described}")
        schema.metadata.create_all(engine)
        engine.dispose()

        assert shape(space.path) == shape(described)

    def test_numbers_are_never_given_twice(self, space: Space) -> None:
        """The table of tasks counts on after its last row is deleted."""
        space.prepare()

        ((sql,),) = space.run("SELECT sql FROM sqlite_master WHERE name = 'oncetask_task'")

        assert "AUTOINCREMENT" in str(sql)

    def test_what_was_applied_is_recorded(self, space: Space) -> None:
        """A table says which migrations were applied."""
        opening.migrate(space.location)

        expected = [(version, name) for version, name in enumerate(migrations.NAMES, start=1)]
        assert space.run("SELECT version, name FROM oncetask_migration") == expected

    def test_many_may_migrate_at_once(self, space: Space) -> None:
        """Each waits for the others, and one of them does the work."""
        failures: list[BaseException] = []
        location = space.patient

        def migrate() -> None:
            try:
                opening.migrate(location)
            except BaseException as error:  # noqa: BLE001 - reported by the assertion
                failures.append(error)

        threads = [threading.Thread(target=migrate) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert space.run("SELECT count(*) FROM oncetask_migration") == [(migrations.LATEST,)]

    def test_a_migration_that_fails_leaves_nothing(self, space: Space) -> None:
        """A table that stands in the way stops the whole step."""
        space.run("CREATE TABLE oncetask_control (name TEXT)")

        with pytest.raises(StoreError, match="oncetask_control"):
            opening.migrate(space.location)
        assert space.run(OURS) == [("oncetask_control", "CREATE TABLE oncetask_control (name TEXT)")]

    @asynchronous
    async def test_tables_of_others_are_left_alone(self, space: Space) -> None:
        """A file of another program can hold our tables beside its own."""
        space.run("CREATE TABLE customers (name TEXT)")
        space.run("CREATE TABLE oncetasks (name TEXT)")
        async with space.opened() as store:
            await store.insert([new_task("a")])

        assert space.run("SELECT * FROM customers") == []
        assert space.run("SELECT id FROM oncetask_task") == [("a",)]


class TestChecking:
    """What opening says about a schema that does not fit."""

    @asynchronous
    async def test_an_older_schema_is_refused(self, space: Space) -> None:
        """The error names the command that mends it, which then does."""
        space.prepare()
        for (table,) in space.run("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'oncetask_%'"):
            space.run(f"DROP TABLE {table}")
        space.run(migrations.RECORD_TABLE)

        with pytest.raises(SchemaError, match=r"version 0.*python -m oncetask_sql migrate sqlite:///"):
            async with space.opened():
                pass

        assert main(["migrate", f"sqlite:///{space.path}"]) == 0
        async with space.opened() as store:
            assert (await store.insert([new_task("a")]))[0].created

    @asynchronous
    async def test_a_newer_schema_is_refused(self, space: Space) -> None:
        """Opening, migrating and printing say that the library has to be upgraded."""
        space.prepare()
        space.run("INSERT INTO oncetask_migration (version, name) VALUES (99, 'of the future')")

        with pytest.raises(SchemaError, match=r"version 99.*Upgrade the library"):
            async with space.opened():
                pass
        with pytest.raises(SchemaError, match="Upgrade the library"):
            opening.migrate(space.location)
        with pytest.raises(SchemaError, match="Upgrade the library"):
            opening.pending_script(space.location)

    @pytest.mark.parametrize("loss", ["DROP TABLE oncetask_migration", "DELETE FROM oncetask_migration"])
    def test_tables_of_an_unknown_version_are_refused(
        self, space: Space, loss: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Opening, migrating and printing say what was lost and how to get it back; once it is back, all is well."""
        space.prepare()
        records = space.run("SELECT * FROM oncetask_migration")
        space.run(loss)
        before = space.run(OURS)
        says = "oncetask_task, but no record of their version: oncetask_migration is missing or empty. Restore"

        for refused in (opening.prepare, opening.migrate, opening.pending_script):
            with pytest.raises(SchemaError, match=says) as caught:
                refused(space.location)
            assert "from a backup, or use another file." in str(caught.value)
        assert main(["migrate", f"sqlite:///{space.path}"]) == 2
        assert says in capsys.readouterr().err
        assert space.run(OURS) == before

        space.run(migrations.RECORD_TABLE)
        for record in records:
            space.run("INSERT INTO oncetask_migration VALUES (?, ?, ?)", *record)
        opening.prepare(space.location)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("ALTER TABLE oncetask_task DROP COLUMN progress", "oncetask_task lacks progress"),
            ("ALTER TABLE oncetask_control RENAME COLUMN value TO content", "oncetask_control lacks value"),
            ("DROP INDEX oncetask_task_ready", "the index oncetask_task_ready"),
            ("DROP TABLE oncetask_control", "oncetask_control lacks env"),
            ("DELETE FROM oncetask_meta", "oncetask_meta holds 0 rows"),
        ],
    )
    def test_a_changed_schema_is_refused(self, space: Space, change: str, named: str) -> None:
        """What is missing is named before anything is read or written."""
        space.prepare()
        space.run(change)

        with pytest.raises(SchemaError, match=named):
            opening.prepare(space.location)

    def test_a_column_of_another_type_is_refused(self, space: Space) -> None:
        """Names alone are not enough."""
        space.prepare()
        space.run("DROP TABLE oncetask_meta")
        space.run("CREATE TABLE oncetask_meta (one INTEGER PRIMARY KEY, clock_at TEXT, epoch INTEGER)")

        with pytest.raises(SchemaError, match="oncetask_meta lacks clock_at, or holds something else"):
            opening.prepare(space.location)


class TestCommand:
    """`python -m oncetask_sql migrate`."""

    def test_the_sql_can_be_printed_and_run_by_hand(
        self, space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`--sql` writes a script, creates nothing, and the script makes the same schema."""
        assert main(["migrate", f"sqlite:///{space.path}", "--sql"]) == 0
        script = capsys.readouterr().out
        assert not space.path.exists()

        by_hand = tmp_path / "by_hand.db"
        with contextlib.closing(sqlite3.connect(by_hand)) as connection:
            connection.executescript(script)
        space.prepare()

        assert shape(by_hand) == shape(space.path)

    def test_nothing_is_printed_for_a_current_schema(self, space: Space, capsys: pytest.CaptureFixture[str]) -> None:
        """There is nothing left to do."""
        space.prepare()

        assert main(["migrate", f"sqlite:///{space.path}", "--sql"]) == 0
        assert capsys.readouterr().out == ""

    def test_a_mistake_is_said_without_a_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The exit code is 2, and the message says what to do."""
        assert main(["migrate", "sqlite:///:memory:"]) == 2
        assert "memory://" in capsys.readouterr().err
