"""A pgbouncer in transaction mode between the stores and the server: three connections for all of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.seats import seat_faults
from oncetask_core.task import OnceTask
from oncetask_core.transition import Verdict
from oncetask_sql.postgresql import PostgresqlStore
from tests.asynchronous import asynchronous
from tests.postgresql.world import LEAST, URL, Schemas, a_role, a_transaction, needs_server, opened, schema_of
from tests.servers.slow_motion import A_MOMENT
from tests.servers.world import drained
from tests.sql.world import a_claim, new_task, settlement
from tools.servers import ServerMissingError, running_pgbouncer

pytestmark = needs_server

WORKERS = 8
POOL_SIZE = 3
KEYS = 7
SETTINGS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "plan_cache_mode")


@pytest.fixture(scope="module")
def pooler() -> Iterator[str]:
    """Return the URL of a pooler in front of the test's server."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_pgbouncer(URL, pool_size=POOL_SIZE))
        except ServerMissingError as error:
            pytest.skip(str(error))
        yield server.url


def through(pooler: str, url: str) -> str:
    """Return the URL of a schema, for the same user, through the pooler."""
    user, place = url.partition("@")[0], pooler.partition("@")[2]
    return f"{user}@{place}?schema={schema_of(url)}&pooler=transaction"


def a_task_of_many(number: int) -> str | None:
    """Return the key of a task: every second has one."""
    return f"key {number % KEYS}" if number % 2 else None


@contextlib.asynccontextmanager
async def stores(url: str) -> AsyncIterator[list[PostgresqlStore]]:
    """Yield as many stores as there are workers."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(url)) for _ in range(WORKERS)]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@asynchronous
async def test_eight_workers_drain_through_three_connections(isolation: str, pooler: str, schemas: Schemas) -> None:
    """Each of 300 tasks is settled once and every key is free in the end, whatever isolation the role prefers."""
    url = schemas.new()
    with a_role(url, LEAST, setting=f"default_transaction_isolation = '{isolation}'") as role:
        async with stores(through(pooler, role)) as working:
            await working[0].insert([new_task(f"t{n}", key=a_task_of_many(n)) for n in range(300)])
            settled = await asyncio.gather(*(drained(store, str(n), group=2) for n, store in enumerate(working)))
            left = [await of_key(working[0], f"key {number}") for number in range(KEYS)]

    assert sorted(task_id for ids in settled for task_id in ids) == sorted(f"t{n}" for n in range(300))
    assert sum(1 for ids in settled if ids) > 1
    assert [seat_faults(tasks) for tasks in left] == [[]] * KEYS


async def of_key(store: PostgresqlStore, key: str) -> list[OnceTask[object]]:
    """Return the tasks of a key."""
    return list((await store.find(TaskQuery(where=TaskFilter(resource_key=key), limit=1000))).tasks)


@asynchronous
async def test_no_setting_reaches_another_client(pooler: str, schemas: Schemas) -> None:
    """What a transaction sets for itself ends with it, on each of the connections that are shared."""
    with a_role(schemas.new(), LEAST) as role:  # which therefore shares its connections with nobody
        pooled = through(pooler, role)
        async with stores(pooled) as working:
            await asyncio.gather(*(store.insert([new_task(f"t{n}", key="k")]) for n, store in enumerate(working)))
            await asyncio.gather(*(drained(store, str(n), group=2) for n, store in enumerate(working)))
            with contextlib.ExitStack() as stack:
                bare = pooled.partition("?")[0]
                others = [stack.enter_context(psycopg.connect(bare)) for _ in range(POOL_SIZE)]
                seen = [settings(other) for other in others]
                shared = {other.execute("SELECT pg_backend_pid()").fetchone() for other in others}
        with psycopg.connect(role.partition("?")[0]) as direct:
            expected = settings(direct)

    assert len(shared) == POOL_SIZE
    assert seen == [expected] * POOL_SIZE


def settings(connection: "psycopg.Connection[tuple[object, ...]]") -> list[object]:
    """Return the settings of a session, and how many statements it keeps; its transaction stays open."""
    values: list[object] = []
    for name in SETTINGS:
        values += connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ()
    return [*values, *(connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() or ())]


@pytest.mark.usefixtures("slow_motion")
@asynchronous
async def test_a_locked_row_is_waited_for_no_longer_than_without_a_pooler(pooler: str, schemas: Schemas) -> None:
    """The task that somebody has locked reads as changed, and the other is settled."""
    url = schemas.new()
    async with opened(through(pooler, url)) as store:
        await store.insert([new_task("a"), new_task("b")])
        claimed = await store.claim(a_claim("lease"))
        atoms = [settlement(task) for task in claimed.tasks]
        with a_transaction(url) as other:
            other.execute("SELECT 1 FROM oncetask_task WHERE id = 'a' FOR UPDATE")
            async with asyncio.timeout(A_MOMENT):
                answers = await store.apply(atoms)
        (again,) = await store.apply(atoms[:1])

    assert [answer.verdict for answer in answers] == [Verdict.CHANGED, Verdict.APPLIED]
    assert again.verdict is Verdict.APPLIED
