"""How SQLite executes the store's statements on 20,000 rows, most of them history, and how many there are."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.decisions import Success, conclude
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.task import NewTask, OnceTask, StoreNow
from oncetask_core.transition import Atom
from oncetask_sql import SqliteStore
from oncetask_sql.sqlite import applying, claiming, lane, listing, renewing
from oncetask_sql.sqlite.connecting import connect
from oncetask_sql.sqlite.inserting import insert
from oncetask_sql.sqlite.location import Location
from oncetask_sql.sqlite.seating import seat
from oncetask_sql.sqlite.transaction import Transaction
from tests.asynchronous import asynchronous
from tests.sql.world import HOUR, KIND, RULES, Space, a_claim, new_task

LIVE = 2_000
ROWS = 20_000
SMALL = ("SCAN given", "SCAN keys", "VIRTUAL TABLE", "oncetask_meta", "CONSTANT ROW")
"""What may be walked through: the parameters of a statement, and the one row of times and numbers."""
Operation = Callable[[Transaction], object]


def a_row(number: int) -> NewTask:
    """Return one of the rows: a third keyless, some of one hot key, some not due yet."""
    key = None if number % 3 else ("hot" if number % 2 else f"key {number % 50}")
    later = StoreNow(timedelta(minutes=number % 10)) if number % 7 == 0 else StoreNow()
    return new_task(f"task {number}", key=key, wait_until=later)


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    """Return a file with much history and a little work, without statistics."""
    space = Space(tmp_path_factory.mktemp("plans") / "tasks.db")
    space.prepare()
    space.fill(ROWS, ROWS - LIVE, a_row)
    with space.transaction() as (tx, _):
        claiming.claim(tx, a_claim("held", limit=20))
    return space


class Traced:
    """Runs an operation, and keeps its statements and their plans; nothing is kept in the file."""

    def __init__(self, space: Space, operation: Operation) -> None:
        statements: list[str] = []
        self.steps = 0
        with space.transaction() as (tx, connection):
            connection.execute("SAVEPOINT test")
            connection.set_trace_callback(statements.append)
            connection.set_progress_handler(self._count, 1)
            operation(tx)
            seat(tx)
            connection.set_progress_handler(None, 1)
            connection.set_trace_callback(None)
            connection.execute("ROLLBACK TO test")
            self.statements = [" ".join(sql.split()) for sql in statements]
            self.plan = [
                str(line[3])
                for sql in statements
                for line in connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
            ]

    def _count(self) -> int:
        self.steps += 1
        return 0

    @property
    def scans(self) -> list[str]:
        """The steps that look at every row of the tasks, under whichever name."""
        return [line for line in self.plan if line.startswith("SCAN") and not any(part in line for part in SMALL)]

    @property
    def sorts(self) -> list[str]:
        """The steps that sort."""
        return [line for line in self.plan if "TEMP B-TREE" in line]

    def uses(self, index: str) -> bool:
        """Return whether an index is searched."""
        return any(line.startswith("SEARCH") and f"oncetask_task_{index} " in line for line in self.plan)


def settle_hot(tx: Transaction) -> None:
    """Claim a group and settle it."""
    claimed = claiming.claim(tx, a_claim("lease", limit=50, group=3))
    atoms = [Atom((conclude(task, Success("1"), RULES, chance=0.0),)) for task in claimed.tasks]
    applying.apply(tx, atoms)


OPERATIONS: dict[str, tuple[Operation, str]] = {
    "claim": (lambda tx: claiming.claim(tx, a_claim("lease", limit=100)), "ready"),
    "claim of low priorities": (lambda tx: claiming.claim(tx, a_claim("lease", limit=ROWS)), "low"),
    "next due": (lambda tx: claiming.claim(tx, a_claim("lease", limit=ROWS)), "live"),
    "claim of a group": (lambda tx: claiming.claim(tx, a_claim("lease", limit=10, group=5)), "wait"),
    "claim of a suspect": (lambda tx: claiming.claim(tx, a_claim("lease", suspects=True)), "suspect"),
    "repeated claim": (lambda tx: claiming.claim(tx, a_claim("held")), "leased"),
    "settle": (settle_hot, "id"),
    "seat": (settle_hot, "head"),
    "next of a key": (settle_hot, "wait"),
    "members of a key": (settle_hot, "member"),
    "insert": (lambda tx: insert(tx, [new_task("new", key="hot"), new_task("task 1")]), "id"),
    "renew": (lambda tx: renewing.renew(tx, {"held": HOUR}), "leased"),
    "ask": (lambda tx: renewing.renew(tx, {"held": None}), "leased"),
    "get": (lambda tx: listing.get(tx, ["task 1", "none"]), "id"),
    "count of what is due": (lambda tx: listing.count(tx, TaskFilter(kinds=frozenset({KIND}), due=True)), "live"),
}
LISTINGS: dict[str, tuple[TaskFilter, str]] = {
    "what ran out": (TaskFilter(kinds=frozenset({KIND}), run_out=True), "leased"),
    "due generators": (TaskFilter(kinds=frozenset({KIND}), live=True, due=True, generators=True), "generator"),
    "due suspects": (
        TaskFilter(kinds=frozenset({KIND}), live=True, due=True, suspects=True, generators=False),
        "suspect",
    ),
    "a key": (TaskFilter(resource_key="hot"), "key"),
    "the live ones of a key": (TaskFilter(kinds=frozenset({KIND}), resource_key="hot", live=True), "key"),
    "what is live": (TaskFilter(live=True), "live"),
    "by id": (TaskFilter(ids=frozenset({"task 1"}), live=True), "id"),
}


class TestPlans:
    """Which indexes are used."""

    @pytest.mark.parametrize("what", OPERATIONS)
    def test_no_operation_looks_at_every_row(self, space: Space, what: str) -> None:
        """The hot paths search the index that was made for them, and sort nothing."""
        operation, index = OPERATIONS[what]
        traced = Traced(space, operation)

        assert traced.scans == []
        assert traced.sorts == ([] if what != "repeated claim" else traced.sorts)
        assert traced.uses(index), traced.plan

    @pytest.mark.parametrize("what", LISTINGS)
    def test_a_narrow_listing_searches_its_index(self, space: Space, what: str) -> None:
        """What workers list at every poll is found without walking through the history."""
        where, index = LISTINGS[what]
        traced = Traced(space, lambda tx: listing.find(tx, TaskQuery(where=where)))

        assert traced.scans == []
        assert traced.uses(index), traced.plan

    def test_a_walk_through_everything_would_be_seen(self, space: Space) -> None:
        """A listing without any narrow field is one, and these tests notice it."""
        traced = Traced(space, lambda tx: listing.find(tx, TaskQuery(where=TaskFilter(queue="default"))))

        assert traced.scans == ["SCAN oncetask_task"]

    def test_a_first_page_of_everything_is_cheap(self, space: Space) -> None:
        """Rows are read in order until the page is full; nothing is sorted."""
        traced = Traced(space, lambda tx: listing.find(tx, TaskQuery(limit=10)))

        assert traced.sorts == []
        assert traced.steps < 2_000

    def test_history_is_walked_only_where_something_is_old_enough(self, space: Space) -> None:
        """A purge that finds nothing costs next to nothing."""
        nothing = Traced(space, lambda tx: listing.find(tx, TaskQuery(where=TaskFilter(done_before=LONG_AGO))))

        assert nothing.uses("done")
        assert nothing.steps < 500


class TestCosts:
    """How many steps of SQLite's machine an operation takes."""

    @pytest.mark.parametrize("what", [name for name in OPERATIONS if name != "claim of low priorities"])
    def test_history_costs_nothing(self, space: Space, tmp_path: Path, what: str) -> None:
        """With ten times as many finished tasks an operation takes as many steps as without."""
        young = Space(tmp_path / "young.db")
        young.prepare()
        young.fill(LIVE, 0, lambda number: a_row(ROWS - LIVE + number))
        with young.transaction() as (tx, _):
            claiming.claim(tx, a_claim("held", limit=20))
        operation, _ = OPERATIONS[what]

        assert Traced(space, operation).steps <= Traced(young, operation).steps * 1.05 + 50

    def test_what_is_not_due_is_not_looked_at(self, tmp_path: Path) -> None:
        """A claim that finds nothing is as cheap beside thousands of tasks in back-off, even if they are due soon."""
        space = Space(tmp_path / "tasks.db")
        space.prepare()
        space.fill(
            5_000, 0, lambda number: new_task(str(number), wait_until=StoreNow(timedelta(seconds=1 + number % 500)))
        )

        assert Traced(space, lambda tx: claiming.claim(tx, a_claim("lease"))).steps < 500

    def test_a_hot_key_costs_others_nothing(self, tmp_path: Path) -> None:
        """Ten thousand tasks of one key stand in nobody's way: only their head is looked at."""
        space = Space(tmp_path / "tasks.db")
        space.prepare()
        space.fill(10_000, 0, lambda number: new_task(str(number), key="hot" if number < 9_990 else None))
        traced = Traced(space, lambda tx: claiming.claim(tx, a_claim("lease", limit=11)))

        assert traced.steps < 5_000
        assert traced.uses("ready")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of all statements that the connections of a store execute."""
    executed: list[str] = []

    def watched(location: Location) -> sqlite3.Connection:
        connection = connect(location)
        connection.set_trace_callback(executed.append)
        return connection

    monkeypatch.setattr(lane, "connect", watched)
    return executed


def work_of(statements: list[str]) -> list[str]:
    """Return the statements that are neither the beginning nor the end of a transaction."""
    return [sql for sql in statements if not sql.startswith(("BEGIN", "COMMIT", "PRAGMA", "--"))]


class TestStatements:
    """How many statements the store needs."""

    @asynchronous
    async def test_a_hundred_claims_and_settles_are_six_statements(self, tmp_path: Path, statements: list[str]) -> None:
        """One kind, keyless, with all their reports."""
        space = Space(tmp_path / "tasks.db")
        async with space.opened() as store:
            await store.insert([new_task(str(number)) for number in range(300)])
            await _round(store, "warm-up")
            statements.clear()

            settled = await _round(store, "measured")

        assert settled == 100
        assert len(work_of(statements)) <= 6, work_of(statements)

    @asynchronous
    async def test_keys_need_three_more(self, tmp_path: Path, statements: list[str]) -> None:
        """A hundred settles of a hundred keys look at all seats at once and give them at once."""
        space = Space(tmp_path / "tasks.db")
        async with space.opened() as store:
            await store.insert([new_task(str(number), key=str(number % 100)) for number in range(300)])
            await _round(store, "warm-up")
            statements.clear()

            settled = await _round(store, "measured")

        assert settled == 100
        assert len(work_of(statements)) <= 9, work_of(statements)

    @asynchronous
    async def test_an_idle_poll_writes_nothing(self, tmp_path: Path, statements: list[str]) -> None:
        """Where nothing is due, nothing is locked or written, and the log does not grow."""
        space = Space(tmp_path / "tasks.db")
        log = tmp_path / "tasks.db-wal"
        async with space.opened() as store:
            await store.insert([new_task("a", wait_until=StoreNow(HOUR))])
            await store.claim(a_claim("lease 0"))
            statements.clear()
            before = log.stat().st_mtime_ns, log.read_bytes()
            for number in range(1, 5):
                await store.claim(a_claim(f"lease {number}"))

            assert (log.stat().st_mtime_ns, log.read_bytes()) == before
            assert not [sql for sql in statements if sql.startswith(("BEGIN IMMEDIATE", "UPDATE"))]
            space.clock.advance(HOUR)
            assert [task.id for task in (await store.claim(a_claim("lease 5"))).tasks] == ["a"]


async def _round(store: SqliteStore, lease_uid: str) -> int:
    claim = Claim(lease_uid=lease_uid, leased_by="w", lease_for=HOUR, slots={KIND: Slots(100)})
    tasks: list[OnceTask[object]] = list((await store.claim(claim)).tasks)
    reports = [conclude(task, Success(f'"{task.id}"'), RULES, chance=0.0) for task in tasks]
    answers = await store.apply([Atom((report,)) for report in reports])
    return sum(answer.verdict == "applied" for answer in answers)
