"""What tests that hold for each server know of it: a place of the test's own, and what happens around its store."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from oncetask_core.clock import Clock
from oncetask_core.query import TaskFilter
from oncetask_core.task import OnceTask
from oncetask_core.transition import Verdict
from oncetask_sql.mariadb import MariadbStore
from oncetask_sql.postgresql import PostgresqlStore
from tests.servers.cutting import Decide
from tests.sql.world import a_claim, settlement

ServerStore = PostgresqlStore | MariadbStore

ENOUGH = 60.0
"""Seconds in which everything is drained."""


class Place(Protocol):
    """A schema or database with empty tables, on a real server.

    Attributes:
        kind: Which server it is on, as the tests call it: "postgresql" or "mariadb".
        url: What a store is opened with.
    """

    kind: str
    url: str

    def run(self, *statements: str) -> Sequence[tuple[Any, ...]]:
        """Run statements around the store, each a transaction; return the rows of the last."""
        ...

    def transaction(self, statement: str) -> AbstractContextManager[object]:
        """Open somebody else's transaction that has run a statement; it is rolled back at the end."""
        ...

    def seating(self) -> AbstractContextManager[object]:
        """Open somebody else's transaction that has the stripes of all keys."""
        ...

    def connections(self) -> int:
        """Return how many connections of stores there are."""
        ...

    def preferring(self, setting: str) -> AbstractContextManager[str]:
        """Let sessions begin with a setting; yield the URL for somebody with the least rights that work."""
        ...

    def reading(self) -> AbstractContextManager[str]:
        """Yield the URL for somebody who may only read."""
        ...

    def empty(self) -> str:
        """Return the URL of another place, which has no tables; it is removed with this one."""
        ...

    def run_script(self, url: str, script: str) -> None:
        """Run a script of several statements at another place."""
        ...

    def description(self, url: str) -> Sequence[object]:
        """Return what there is to say of the tables at another place, column by column."""
        ...

    def store(self, url: str = "") -> ServerStore:
        """Return a store that is not open, of the place's own URL or of another one."""
        ...

    def opened(self, url: str = "", *, clock: Clock | None = None) -> AbstractAsyncContextManager[ServerStore]:
        """Yield an open store, of the place's own URL or of another one."""
        ...

    def way(self, decide: Decide) -> AbstractAsyncContextManager[str]:
        """Yield the URL of the same place behind something that cuts connections."""
        ...

    def opened_behind(self, decide: Decide) -> AbstractAsyncContextManager[ServerStore]:
        """Yield an open store whose connections are cut."""
        ...

    def alchemy(self, *, awaited: bool = False) -> str:
        """Return the URL for SQLAlchemy of what sees the tables of the place."""
        ...

    def django(self) -> dict[str, Any]:
        """Return what Django's DATABASES say of the place."""
        ...

    def remove(self) -> None:
        """Remove the place."""
        ...


def locking(place: Place, task_id: str) -> AbstractContextManager[object]:
    """Open somebody else's transaction that has a task locked."""
    return place.transaction(f"SELECT 1 FROM oncetask_task WHERE env = 'DEFAULT' AND id = '{task_id}' FOR UPDATE")


def rows(place: Place, columns: str) -> list[tuple[Any, ...]]:
    """Return columns of all tasks, in the order of their ids."""
    found = place.run(f"SELECT id, {columns} FROM oncetask_task")
    return [row[1:] for row in sorted(found, key=lambda row: str(row[0]))]


async def drained(store: ServerStore, name: str, *, group: int = 1) -> list[str]:
    """Claim and settle until nothing is left; return what was settled.

    Raises:
        TimeoutError: Tasks are left.
    """
    settled: list[str] = []
    async with asyncio.timeout(ENOUGH):
        for number in itertools.count():
            tasks = (await store.claim(a_claim(f"{name} {number}", limit=3, group=group))).tasks
            settled += await settled_of(store, tasks)
            if not tasks and not await store.count(TaskFilter(live=True)):
                break
    return settled


async def settled_of(store: ServerStore, tasks: Sequence[OnceTask[object]]) -> list[str]:
    """Settle tasks, once more those whose rows somebody had locked for a moment; return what was settled."""
    settled: list[str] = []
    left = list(tasks)
    while left:
        answers = await store.apply([settlement(task) for task in left])
        settled += [task.id for task, answer in zip(left, answers, strict=True) if answer.verdict is Verdict.APPLIED]
        left = [one.task for one in answers if one.verdict is Verdict.CHANGED and one.task is not None]
    return settled
