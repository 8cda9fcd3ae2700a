"""Tasks that are created and completed in transactions of the caller."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import django
import msgspec
import pytest
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oncetask import (
    ConfigurationError,
    LeaseLostError,
    NoRetryPolicy,
    OnceTask,
    Outcome,
    SyncTaskManager,
    TaskContext,
    TaskManager,
)
from oncetask_core.decisions import conclude
from oncetask_core.store import TaskStore
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import Schemas, connected
from tests.postgresql.world import needs_server as needs_postgresql
from tests.servers.sessions import (
    ASYNC,
    NOW,
    Opening,
    OpeningNow,
    RollBackError,
    async_connection,
    roll_back,
    session_now,
    write,
    write_now,
)
from tests.servers.world import Place, ServerStore
from tests.sql.world import DONE, RULES, a_claim, new_task
from tests.worker.world import Job, Keyed, until_all_have_ended

LEASE = timedelta(seconds=9)
"""Of handlers that run in real time until it is over: a machine that stands still for a few seconds costs none."""


def ledger(place: Place) -> list[str]:
    """Return what the caller has written himself."""
    return [note for (note,) in place.run("SELECT note FROM ledger")]


def with_ledger(place: Place) -> str:
    """Make a table of the caller's own; return the URL of the place."""
    place.run("CREATE TABLE ledger (note varchar(100))")
    return place.url


@ASYNC
@asynchronous
async def test_tasks_exist_if_and_only_if_the_transaction_commits(opening: Opening, place: Place) -> None:
    """Business data and tasks are one."""
    url = with_ledger(place)
    manager = TaskManager(url)
    with contextlib.suppress(RollBackError):
        async with opening(place) as session:
            await write(session, "INSERT INTO ledger VALUES ('no')")
            assert await manager.create_task(Job("no"), session=session)
            roll_back()
    async with opening(place) as session:
        await write(session, "INSERT INTO ledger VALUES ('yes')")
        created = await manager.create_tasks([Job("yes"), Keyed("k1"), Keyed("k2"), Job("yes")], session=session)
        assert await manager.count_tasks() == 0
    found = await manager.get_tasks_by_ids(["no", "yes", "k1", "k2"])
    manager.register_task_handler(Job, lambda task: None)
    manager.register_task_handler(Keyed, lambda task: None)
    await manager.drain()
    live = (await manager.get_tasks_by_ids(["yes", "k1", "k2"])).tasks
    await manager.close()

    assert [bool(one) for one in created] == [True, True, True, False]
    assert [task.id for task in found.tasks] == ["yes", "k1", "k2"]
    assert ledger(place) == ["yes"]
    assert [task.outcome for task in live] == [Outcome.COMPLETED] * 3


@ASYNC
@asynchronous
async def test_a_task_is_completed_if_and_only_if_the_transaction_of_its_handler_commits(
    opening: Opening, place: Place
) -> None:
    """A handler whose transaction is rolled back has failed, and runs again; its effect is there once."""
    url = with_ledger(place)
    manager = TaskManager(url)
    attempts: list[int] = []

    @manager.task_handler(Job)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> str:
        attempts.append(context.attempt)
        try:
            async with opening(place) as session:
                await write(session, f"INSERT INTO ledger VALUES ('attempt {context.attempt}')")
                await manager.create_task(Keyed("follow-up"), session=session)
                await context.acomplete_in(session, {"done": True})
                if context.attempt == 1:
                    roll_back()
        except RollBackError:
            return "counts for nothing"
        return "nor does this"

    created = await manager.create_task(Job("a"))
    async with manager.running(), asyncio.timeout(SOON):
        result = await created.wait()
    (task,) = (await manager.get_tasks_by_ids(["a"])).tasks
    (follow_up,) = (await manager.get_tasks_by_ids(["follow-up"])).tasks
    await manager.close()

    assert attempts == [1, 2]
    assert ledger(place) == ["attempt 2"]
    assert result == {"done": True}
    assert [error.error.partition(":")[0] for error in task.errors] == ["NotCommittedError"]
    assert follow_up.is_live


@NOW
@asynchronous
async def test_a_plain_function_completes_its_task_in_its_own_thread(opening: OpeningNow, place: Place) -> None:
    """With the sessions that block."""
    url = with_ledger(place)
    manager = TaskManager(url)

    @manager.task_handler(Keyed)
    def handle(task: OnceTask[Keyed], context: TaskContext[Keyed]) -> None:
        with opening(place) as session:
            write_now(session, f"INSERT INTO ledger VALUES ('{task.id}')")
            context.complete_in(session, task.id)

    await manager.create_tasks([Keyed("a"), Keyed("b"), Keyed("c")])
    await manager.drain()
    tasks = (await manager.get_tasks_by_ids(["a", "b", "c"])).tasks
    await manager.close()

    assert sorted(ledger(place)) == ["a", "b", "c"]
    assert [(task.outcome, task.result, task.claims) for task in tasks] == [
        (Outcome.COMPLETED, f'"{task.id}"', 1) for task in tasks
    ]


@NOW
def test_the_manager_that_blocks_writes_on_the_callers_thread(opening: OpeningNow, place: Place) -> None:
    """Tasks exist if and only if the transaction commits; a session that is awaited is refused."""
    url = with_ledger(place)
    manager = SyncTaskManager(url)
    with contextlib.suppress(RollBackError), opening(place) as session:
        assert manager.create_task(Job("no"), session=session)
        roll_back()
    with opening(place) as session:
        write_now(session, "INSERT INTO ledger VALUES ('yes')")
        created = manager.create_tasks([Job("yes"), Keyed("k")], session=session)
        assert manager.count_tasks() == 0
    assert [bool(one) for one in created] == [True, True]
    assert {task.id for task in manager.list_tasks().tasks} == {"yes", "k"}
    assert ledger(place) == ["yes"]
    with pytest.raises(ConfigurationError, match="takes sessions that block"):
        manager.create_task(Job("x"), session=AsyncSession(create_async_engine(place.alchemy(awaited=True))))
    manager.close()


@asynchronous
async def test_what_runs_is_completed_although_its_kind_is_not_served_any_more(place: Place) -> None:
    """As it is by a handler that just returns."""
    manager = TaskManager(with_ledger(place))

    @manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(_: OnceTask[Job], context: TaskContext[Job]) -> None:
        manager.unregister("job")
        async with async_connection(place) as session:
            await write(session, "INSERT INTO ledger VALUES ('done')")
            await context.acomplete_in(session, "result")

    created = await manager.create_task(Job("a"))
    await manager.drain()

    assert await created.wait(timeout=SOON) == "result"
    assert ledger(place) == ["done"]
    await manager.close()


@ASYNC
@asynchronous
async def test_whoever_has_lost_the_lease_commits_nothing(opening: Opening, place: Place) -> None:
    """The transaction is of no use any more, also to a handler that does not look."""
    url = with_ledger(place)
    manager = TaskManager(url)
    seen: list[str] = []

    @manager.task_handler(Job, retry_policy=NoRetryPolicy())
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        await manager.delete_task(task.id)
        try:
            async with opening(place) as session:
                await write(session, "INSERT INTO ledger VALUES ('stale')")
                try:
                    await context.acomplete_in(session)
                except LeaseLostError as error:
                    seen.append(str(error))
        except Exception as error:  # noqa: BLE001 - drivers differ in whether they tell that a commit did nothing
            seen.append(type(error).__name__)

    await manager.create_task(Job("a"))
    await manager.drain()
    await manager.close()

    assert "the lease on task 'a' is lost" in seen[0]
    assert ledger(place) == []


@asynchronous
async def test_sessions_that_cannot_be_meant_are_refused(place: Place) -> None:
    """Before anything is written: another database, none, the other kind; and stores without such a part."""
    manager, memory = TaskManager(place.url), TaskManager("memory://")
    with session_now(place) as blocking, Session(create_engine("sqlite://")) as other:
        refusals = [(manager, object(), "session is a SQLAlchemy Session"), (manager, other, "got 'sqlite'")]
        refusals += [(manager, blocking, "whose statements are awaited")]
        refusals += [(memory, blocking, "take part in the caller's transactions")]
        for asked, session, message in refusals:
            with pytest.raises(ConfigurationError, match=message):
                await asked.create_task(Job("a"), session=session)

    assert await manager.count_tasks() == 0
    await manager.close()


@asynchronous
async def test_sessions_of_sqlalchemy_that_commit_each_statement_are_refused(place: Place) -> None:
    """Whoever has chosen that: the engine, a copy of it with other options, the connection."""
    manager = TaskManager(place.url)
    of_its_own = create_async_engine(place.alchemy(awaited=True), isolation_level="AUTOCOMMIT")
    engine = create_async_engine(place.alchemy(awaited=True))
    sessions: list[AsyncSession | AsyncConnection] = [
        AsyncSession(of_its_own),
        AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")),
        of_its_own.connect(),
    ]
    async with engine.connect() as connection:
        sessions.append(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        for session in sessions:
            with pytest.raises(ConfigurationError, match="commits by itself"):
                await manager.create_task(Job("a"), session=session)

    assert await manager.count_tasks() == 0
    await engine.dispose()
    await manager.close()


@needs_postgresql
@asynchronous
async def test_a_connection_of_psycopg_that_is_in_no_transaction_is_refused(schemas: Schemas) -> None:
    """Each of its statements would commit by itself."""
    manager = TaskManager(schemas.new())
    with connected() as autocommit, pytest.raises(ConfigurationError, match="commits by itself"):
        await manager.create_task(Job("a"), session=autocommit)

    assert await manager.count_tasks() == 0
    await manager.close()


@asynchronous
async def test_an_open_transaction_that_completes_a_task_stops_no_renewal(place: Place) -> None:
    """Fifty other leases of the same claim are extended, and others claim; its own lease is what it may last."""
    manager = TaskManager(place.url)
    release, begun = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    @manager.task_handler(Job, concurrency=200, lease_duration=LEASE)
    async def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        if task.id != "slow":
            await release.wait()
            return
        attempts.append(context.attempt)
        async with async_connection(place) as session:
            await context.acomplete_in(session)
            begun.set()
            await release.wait()

    ids = [f"j{number}" for number in range(50)]
    await manager.create_tasks([Job("slow"), *map(Job, ids)])
    async with manager.running(), asyncio.timeout(3 * SOON):
        await begun.wait()
        store = manager._gate.store
        first = await leases(store, ids)
        await store.insert([new_task("x")])
        assert [task.id for task in (await store.claim(a_claim("another"))).tasks] == ["x"]
        while min([until - first[one] for one, until in (await leases(store, ids)).items()]) <= LEASE:  # noqa: ASYNC110 - the store alone knows
            await asyncio.sleep(0.05)
        release.set()
        await until_all_have_ended(manager, seconds=SOON, but=1)  # "slow" may be between attempts; "x" stays
    tasks = (await manager.get_tasks_by_ids(["slow", *ids])).tasks
    await manager.close()

    assert [task.outcome for task in tasks] == [Outcome.COMPLETED] * 51
    assert [task.claims for task in tasks if task.id != "slow"] == [1] * 50
    assert len(attempts) > 1


async def leases(store: TaskStore, ids: Sequence[str]) -> dict[str, datetime]:
    """Return until when tasks are leased; fail where a lease has ended."""
    held = {task.id: task.leased_until for task in (await store.get(ids)).tasks.values()}
    now = await store.now()
    running = {task_id: until for task_id, until in held.items() if until is not None and until > now}
    assert running.keys() == set(ids)
    return running


def in_django(place: Place) -> str:
    """Return what Django calls the database of a place."""
    if not settings.configured:
        settings.configure()
        django.setup()
    alias = place.url
    connections.settings[alias] = connections.configure_settings({"default": place.django()})["default"]
    return alias


@asynchronous
async def test_djangos_connection_takes_part_within_atomic_alone(place: Place) -> None:
    """Outside of it each statement commits by itself, which is refused."""
    url = with_ledger(place)
    alias = in_django(place)
    manager = TaskManager(url)
    refused: list[str] = []

    @manager.task_handler(Job)
    def handle(task: OnceTask[Job], context: TaskContext[Job]) -> None:
        connection = connections[alias]
        try:
            context.complete_in(connection)
        except ConfigurationError as error:
            refused.append(str(error))
        with transaction.atomic(using=alias):
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO ledger VALUES (%s)", (task.id,))
            context.complete_in(connection, "done")
        connection.close()

    await manager.create_task(Job("a"))
    await manager.drain()
    (task,) = (await manager.get_tasks_by_ids(["a"])).tasks
    await manager.close()

    assert "commits by itself" in refused[0]
    assert (task.outcome, task.result, ledger(place)) == (Outcome.COMPLETED, '"done"', ["a"])


@asynchronous
async def test_an_atomic_block_of_whoever_has_lost_the_lease_commits_nothing(place: Place) -> None:
    """Also where it catches the error; Django's connection is usable again after it has been closed."""
    with_ledger(place)
    alias = in_django(place)

    def commit_in_spite(store: ServerStore, stale: OnceTask[object]) -> None:
        connection = connections[alias]
        with contextlib.suppress(DatabaseError), transaction.atomic(using=alias):
            write_now(connection.cursor(), "INSERT INTO ledger VALUES ('stale')")
            with pytest.raises(LeaseLostError):
                store.settle_in_now(connection, stale, lambda task: conclude(task, DONE, RULES, chance=0.0))
        connection.close()
        with transaction.atomic(using=alias):
            write_now(connection.cursor(), "INSERT INTO ledger VALUES ('later')")
        connection.close()

    async with place.opened() as store:
        await store.insert([new_task("a")])
        (task,) = (await store.claim(a_claim("lease"))).tasks
        await asyncio.to_thread(commit_in_spite, store, msgspec.structs.replace(task, epoch=task.epoch - 1))

    assert ledger(place) == ["later"]
