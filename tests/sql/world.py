"""A SQLite file in a folder of the test, stores on it, and its rows read with `sqlite3`."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Report, Success, conclude
from oncetask_core.query import TaskQuery
from oncetask_core.store import Claimed
from oncetask_core.task import NewTask, OnceTask, StoreNow, When
from oncetask_core.transition import Atom, Verdict
from oncetask_sql import SqliteStore
from oncetask_sql.sqlite import opening
from oncetask_sql.sqlite.connecting import connect
from oncetask_sql.sqlite.location import Location
from oncetask_sql.sqlite.seating import seat
from oncetask_sql.sqlite.store_time import StoreTime
from oncetask_sql.sqlite.transaction import Transaction
from tests.opening import open_meanwhile

T = TypeVar("T")

KIND = "parcel"
HOUR = timedelta(hours=1)
AT_ONCE = StoreNow()
RULES = KindRules()
DONE = Success('"done"')


def new_task(
    task_id: str,
    *,
    kind: str = KIND,
    key: str | None = None,
    strict: bool = False,
    priority: int = 0,
    wait_until: When = AT_ONCE,
    run: str = "1",
) -> NewTask:
    """Return a task to insert."""
    return NewTask(
        id=task_id,
        kind=kind,
        payload='{"to":"Ada"}',
        run_uid=f"run {run} of {task_id}",
        created_by=f"creator {run} of {task_id}",
        resource_key=key,
        strict_order=strict,
        priority=priority,
        wait_until=wait_until,
    )


def a_claim(
    lease_uid: str, *, limit: int = 10, group: int = 1, kinds: Sequence[str] = (KIND,), suspects: bool = False
) -> Claim:
    """Return a claim for an hour."""
    slots = dict.fromkeys(kinds, Slots(limit, group))
    return Claim(lease_uid=lease_uid, leased_by="worker", lease_for=HOUR, slots=slots, suspects=suspects)


def settlement(task: OnceTask[object], report: Report = DONE) -> Atom:
    """Return the atom by which the holder of a task reports."""
    return Atom((conclude(task, report, RULES, chance=0.0),))


@dataclass
class Space:
    """A database file."""

    path: Path
    clock: VirtualClock = field(default_factory=VirtualClock)

    @property
    def location(self) -> Location:
        """The file, without waiting for the disk, and impatient."""
        return Location(path=self.path, synchronous="normal", busy_timeout=0.2)

    @property
    def patient(self) -> Location:
        """The file for tests in which several really wait for each other."""
        return Location(path=self.path, synchronous="normal", busy_timeout=60.0)

    def opened(self, env: str = "DEFAULT") -> contextlib.AbstractAsyncContextManager[SqliteStore]:
        """Yield an open store."""
        return open_meanwhile(SqliteStore(self.location, env=env, clock=self.clock))

    @contextlib.contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Yield a plain connection of the test's own, in autocommit mode."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection

    def run(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement around the store."""
        with self.connected() as connection:
            return connection.execute(sql, parameters).fetchall()

    def prepare(self) -> None:
        """Create the file and its schema."""
        opening.prepare(self.location)

    @contextlib.contextmanager
    def transaction(self, env: str = "DEFAULT") -> Iterator[tuple[Transaction, sqlite3.Connection]]:
        """Yield a transaction of the store on a connection of the test's own; seats are given at its end."""
        with contextlib.closing(connect(self.location)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            tx = Transaction(connection, env=env, time=StoreTime(self.clock))
            tx.tick()
            yield tx, connection
            seat(tx)
            connection.execute("COMMIT")

    def fill(self, count: int, finished: int, make: Callable[[int], NewTask]) -> None:
        """Insert tasks quickly, and end the first of them around the store."""
        from oncetask_sql.sqlite.inserting import insert  # only some tests fill

        with self.transaction() as (tx, connection):
            insert(tx, [make(number) for number in range(count)])
            connection.execute(
                "UPDATE oncetask_task SET outcome = 'completed', done_at = wait_until, head_key = NULL "
                "WHERE sequence <= ?",
                (finished,),
            )


async def claimed_ids(store: SqliteStore, lease_uid: str, *, limit: int = 10, group: int = 1) -> list[str]:
    """Claim, and return the ids in order."""
    claimed: Claimed = await store.claim(a_claim(lease_uid, limit=limit, group=group))
    return [task.id for task in claimed.tasks]


async def everything(store: SqliteStore) -> list[OnceTask[object]]:
    """Return every readable task in order of creation."""
    return list((await store.find(TaskQuery(limit=1000))).tasks)


async def settle(store: SqliteStore, task: OnceTask[object], report: Report = DONE) -> Verdict:
    """Report the end of a task as its holder."""
    return (await store.apply([settlement(task, report)]))[0].verdict
