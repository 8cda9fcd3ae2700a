"""What goes wrong below the store: files, locks, disks, and rows that cannot be written."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from oncetask_core.decisions import Success, cancel
from oncetask_core.errors import ConfigurationError, OncetaskError, StoreError, StoreUnavailableError
from oncetask_core.query import TaskFilter
from oncetask_core.task import NewTask, OnceTask, StoreNow
from oncetask_core.transition import Atom, Transition, Verdict
from oncetask_sql import SqliteStore
from oncetask_sql.sqlite import connecting, failures
from oncetask_sql.sqlite.forks import Gate
from oncetask_sql.sqlite.location import Location
from oncetask_sql.sqlite.turns import WRITE, transact
from tests.asynchronous import asynchronous
from tests.sql.world import HOUR, Space, a_claim, new_task, settlement

AS_NOBODY = """
import os, sys
from pathlib import Path
from oncetask_sql.sqlite import opening
from oncetask_sql.sqlite.location import file_at
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    opening.prepare(file_at(Path(sys.argv[1])))
except Exception as error:
    print(type(error).__name__, error)
"""


class TestOpening:
    """What opening refuses, and as what."""

    @asynchronous
    async def test_a_missing_folder_is_a_matter_of_configuration(self, tmp_path: Path) -> None:
        """Nobody's folder is created by accident."""
        with pytest.raises(ConfigurationError, match="Create"):
            await SqliteStore(tmp_path / "none" / "tasks.db").open()

    @asynchronous
    async def test_a_file_that_is_no_database_is_refused(self, space: Space) -> None:
        """It is left as it was."""
        space.path.write_bytes(b"Dear diary, " * 1000)

        with pytest.raises(ConfigurationError, match="Name another file"):
            async with space.opened():
                pass
        assert space.path.read_bytes() == b"Dear diary, " * 1000

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes of files mean something else here")
    @pytest.mark.parametrize("mode", [0o444, 0o000])
    def test_a_file_that_may_not_be_written_is_refused(self, mode: int) -> None:
        """The error names the file and what to do, before anything is written."""
        with _open_folder() as folder:
            space = Space(folder / "tasks.db")
            space.prepare()
            before = space.path.read_bytes()
            space.path.chmod(mode)
            said = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, str(space.path)], capture_output=True, text=True, check=True
            ).stdout

            space.path.chmod(0o644)
            assert said.startswith("ConfigurationError")
            assert str(space.path) in said
            assert "Let this user write" in said or "may write there" in said
            assert space.path.read_bytes() == before

    def test_an_old_sqlite_is_refused(self, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library needs statements that came with 3.35."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

        with pytest.raises(ConfigurationError, match=r"3\.35\.0 or newer"):
            space.prepare()

    def test_a_file_system_without_a_log_is_refused(self, space: Space) -> None:
        """When the journal mode does not become WAL, nothing else is tried; here another connection prevents it."""
        space.run("CREATE TABLE t (a)")
        with space.connected() as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT * FROM t").fetchall()

            with pytest.raises(StoreUnavailableError, match="locked"):
                space.prepare()

    def test_the_journal_mode_is_looked_at(self, monkeypatch: pytest.MonkeyPatch, space: Space) -> None:
        """A mode that silently stays another one is an error."""
        real = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: real(":memory:", isolation_level=None))

        with pytest.raises(ConfigurationError, match="journal mode stays 'memory'"):
            connecting.connect(space.location)

    @asynchronous
    async def test_a_connection_is_durable_by_default(self, space: Space) -> None:
        """WAL with full synchronisation, unless the URL says otherwise."""
        space.prepare()
        with contextlib.closing(connecting.connect(Location(path=space.path))) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    @asynchronous
    async def test_a_store_that_is_not_open_says_so(self, space: Space) -> None:
        """Neither before it is opened nor after it is closed is anything done."""
        store = SqliteStore(space.location)
        with pytest.raises(StoreError, match=r"open\(\)"):
            await store.now()
        await store.open()
        await store.now()
        await store.close()
        with pytest.raises(StoreError, match=r"open\(\)"):
            await store.now()


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """Yield a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class TestLocks:
    """Other connections that hold the file."""

    @asynchronous
    async def test_a_lock_that_stays_is_an_outage(self, space: Space) -> None:
        """Writes give up in the time that was chosen; reads go on; later writes succeed."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            with space.connected() as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailableError, match=r"locked for \d+\.\d s"):
                    await store.insert([new_task("b")])
                assert await store.count(TaskFilter()) == 1
                other.execute("ROLLBACK")

            assert (await store.insert([new_task("b")]))[0].created

    @asynchronous
    async def test_a_lock_that_goes_is_waited_for(self, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that meets a lock is done as soon as it is free."""
        waiting = threading.Event()
        pause = Gate.pause

        def noticed(gate: Gate, seconds: float) -> None:
            waiting.set()
            pause(gate, seconds)

        monkeypatch.setattr(Gate, "pause", noticed)
        store = SqliteStore(space.patient)
        await store.open()
        with space.connected() as other:
            other.execute("BEGIN IMMEDIATE")
            insert = asyncio.create_task(store.insert([new_task("a")]))
            assert await asyncio.to_thread(waiting.wait, 30)
            assert not insert.done()
            other.execute("ROLLBACK")

        assert (await insert)[0].created
        await store.close()

    @asynchronous
    async def test_renewals_do_not_queue_behind_the_writer(self, space: Space) -> None:
        """While the writer's thread is busy, a renewal is answered on a thread of its own."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            await store.claim(a_claim("lease 1"))
            release = threading.Event()
            blocked = store._connections().writer.read(lambda _: release.wait(30))
            renewed = await store.renew({"lease 1": 2 * HOUR})
            release.set()

            assert [lease.id for lease in renewed.held] == ["a"]
            assert blocked.result(30)


class TestTransactions:
    """Statements and commits that fail."""

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (sqlite3.SQLITE_FULL, StoreUnavailableError),
            (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailableError),
            (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailableError),
            (sqlite3.SQLITE_CORRUPT, StoreError),
            (sqlite3.SQLITE_READONLY_DBMOVED, StoreError),
        ],
    )
    def test_what_may_pass_is_an_outage_and_what_will_not_is_an_error(
        self, code: int, kind: type[OncetaskError]
    ) -> None:
        """Workers wait for an outage to end, and stop at an error; both say what to do."""
        error = sqlite3.OperationalError("oh no")
        error.sqlite_errorcode = code

        assert type(failures.store_error(error, Path("/t.db"))) is kind
        assert "/t.db" in str(failures.store_error(error, Path("/t.db")))

    @asynchronous
    async def test_a_full_disk_is_an_outage(self, space: Space) -> None:
        """The write is refused as a whole, and possible again when there is room."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            lane = store._connections().writer
            lane.read(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchall()).result(10)

            with pytest.raises(StoreUnavailableError, match="Free some space"):
                await store.insert([msgspec.structs.replace(new_task("b"), payload='"' + "x" * 10**6 + '"')])

            assert (await store.insert([new_task("c")]))[0].created
            assert await store.count(TaskFilter()) == 2

    def test_a_commit_that_fails_has_an_unknown_outcome(self, space: Space) -> None:
        """It is reported as an outage that asking again resolves; the connection can go on."""
        space.prepare()
        space.run("CREATE TABLE parent (a INTEGER PRIMARY KEY)")
        space.run("CREATE TABLE child (a INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        with contextlib.closing(connecting.connect(space.location)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            with pytest.raises(StoreUnavailableError, match="outcome is not known"):
                _transact(space, connection, "INSERT INTO child VALUES (7)")
            _transact(space, connection, "INSERT INTO parent VALUES (7)")

        assert space.run("SELECT (SELECT count(*) FROM child), (SELECT count(*) FROM parent)") == [(0, 1)]

    @asynchronous
    async def test_a_connection_that_failed_is_replaced(self, space: Space) -> None:
        """After an error of the file the next call connects anew."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            lane = store._connections().reader
            lane.write(lambda connection: connection.execute("CREATE TEMP TABLE mark (a)")).result(10)
            with pytest.raises(StoreError, match="no such table: missing"):
                lane.read(lambda connection: connection.execute("SELECT * FROM missing")).result(10)

            with pytest.raises(StoreError, match="no such table: mark"):
                lane.read(lambda connection: connection.execute("SELECT * FROM mark")).result(10)
            assert await store.count(TaskFilter()) == 1

    @asynchronous
    async def test_a_caller_that_gave_up_leaves_nothing_half_done(self, space: Space) -> None:
        """A call that is cancelled before its turn is not made; one that has begun is finished."""
        async with space.opened() as store:
            release, begun = threading.Event(), threading.Event()
            lane = store._connections().writer

            def stay(_: sqlite3.Connection) -> bool:
                begun.set()
                return release.wait(30)

            busy = lane.read(stay)
            insert = asyncio.create_task(store.insert([new_task("a")]))
            assert await asyncio.to_thread(begun.wait, 30)
            insert.cancel()
            with pytest.raises(asyncio.CancelledError):
                await insert
            release.set()
            busy.result(30)

            assert await store.count(TaskFilter()) == 0


def _transact(space: Space, connection: connecting.FileConnection, sql: str) -> None:
    transact(connection, WRITE, lambda used: used.execute(sql), location=space.location)


class TestBrokenAtoms:
    """Atoms that cannot be written, among others that can."""

    @pytest.mark.parametrize("broken", [set(), {0}, {3, 4}, {0, 6, 9}, set(range(10))])
    @asynchronous
    async def test_only_what_cannot_be_written_is_broken(self, space: Space, broken: set[int]) -> None:
        """A statement that fails is halved until the rows that are to blame stand alone."""
        async with space.opened() as store:
            await store.insert([new_task(str(number), key=f"k{number % 2}") for number in range(10)])
            tasks = [(await store.get([str(number)])).tasks[str(number)] for number in range(10)]
            names = ", ".join(f"'{number}'" for number in broken)
            space.run(
                "CREATE TRIGGER refuse BEFORE UPDATE OF outcome ON oncetask_task "
                f"WHEN old.id IN ({names}) BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            )

            answers = await store.apply([Atom((_cancel(task),)) for task in tasks])

            expected = [Verdict.BROKEN if number in broken else Verdict.APPLIED for number in range(10)]
            assert [answer.verdict for answer in answers] == expected
            assert {str(answer.error) for answer in answers if answer.error} == {
                f"task '{number}' cannot be written: not this one" for number in broken
            }
            left = {int(str(name)) for (name,) in space.run("SELECT id FROM oncetask_task WHERE outcome IS NULL")}
            assert left == broken

    @asynchronous
    async def test_a_broken_part_takes_back_its_whole_atom(self, space: Space) -> None:
        """Inserts and transitions before it included; the atoms around it are written."""
        async with space.opened() as store:
            await store.insert([new_task(name, key="k") for name in "abc"])
            a, b, c = [(await store.get([name])).tasks[name] for name in "abc"]
            unstorable = msgspec.structs.replace(new_task("d"), payload="\ud800")

            answers = await store.apply(
                [Atom((_cancel(a), _cancel(b)), (unstorable,)), Atom((_cancel(c),), (new_task("e"),))]
            )

            assert [answer.verdict for answer in answers] == [Verdict.BROKEN, Verdict.APPLIED]
            assert space.run("SELECT id, outcome, head_key FROM oncetask_task ORDER BY id") == [
                ("a", None, "k"),
                ("b", None, None),
                ("c", "cancelled", None),
                ("e", None, None),
            ]

    @pytest.mark.parametrize(
        "new",
        [
            msgspec.structs.replace(new_task("b"), payload="\ud800"),
            new_task("b", wait_until=StoreNow(timedelta.max)),
        ],
    )
    @asynchronous
    async def test_an_insert_that_cannot_be_stored_adds_nothing(self, space: Space, new: NewTask) -> None:
        """The error names the ids that it may be about, and the call can be repeated without the culprit."""
        async with space.opened() as store:
            with pytest.raises(StoreError, match="'a', 'b'"):
                await store.insert([new_task("a"), new])

            assert await store.count(TaskFilter()) == 0

    @asynchronous
    async def test_texts_are_kept_with_their_nuls(self, space: Space) -> None:
        """A NUL ends no text: neither what is inserted nor what is settled is cut."""
        async with space.opened() as store:
            await store.insert([msgspec.structs.replace(new_task("a"), payload="1\0002")])
            (task,) = (await store.claim(a_claim("lease 1"))).tasks
            await store.apply([settlement(task, Success("3\0004"))])

            stored = (await store.get(["a"])).tasks["a"]
            assert (task.payload, stored.payload, stored.result) == ("1\0002", "1\0002", "3\0004")


def _cancel(task: OnceTask[object]) -> Transition:
    transition = cancel(task, has_cleanup=False)
    assert transition is not None
    return transition
