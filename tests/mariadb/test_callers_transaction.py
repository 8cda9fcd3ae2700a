"""What MariaDB's transactions of the caller have of their own: snapshots, character sets, modes, locks, errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DataError, OperationalError, PendingRollbackError
from sqlalchemy.orm import Session

from oncetask_core.decisions import conclude
from oncetask_core.errors import ConfigurationError, LeaseLostError
from oncetask_core.task import OnceTask
from oncetask_core.transition import Transition, Verdict
from oncetask_sql.mariadb import MariadbStore, caller
from tests.asynchronous import SOON, asynchronous
from tests.mariadb.world import URL, Databases, needs_server, opened, run
from tests.servers.slow_motion import A_MOMENT
from tests.sql.world import DONE, HOUR, RULES, a_claim, new_task, settlement

pytestmark = needs_server


@contextmanager
def a_session(url: str, *settings: str, **options: Any) -> Iterator[Session]:
    """Yield a Session in a transaction; it commits at the end."""
    engine = create_engine(url.replace("mysql://", "mysql+pymysql://", 1), **options)
    try:
        with Session(engine) as session, session.begin():
            for setting in settings:
                session.execute(text(f"SET SESSION {setting}"))
            yield session
    finally:
        engine.dispose()


def done(task: OnceTask[object]) -> Transition:
    """Decide that a task has succeeded."""
    return conclude(task, DONE, RULES, chance=0.0)


async def taken(store: MariadbStore, name: str = "a") -> OnceTask[object]:
    """Create a task and claim it."""
    await store.insert([new_task(name)])
    (task,) = (await store.claim(a_claim("lease"))).tasks
    return task


@pytest.mark.parametrize("setting", ["OFF", "ON"])
@asynchronous
async def test_what_has_changed_since_the_transaction_began_is_decided_on(
    setting: str, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease was extended, a task was created: the snapshot shows neither; servers from 11.6 on refuse such writes."""
    url = databases.new()
    monkeypatch.setattr(caller, "_SETTINGS", caller._SETTINGS.replace("M!110602", "M!100618"))  # is known since then
    async with opened(url) as store:
        task = await taken(store)
        with a_session(url, f"innodb_snapshot_isolation = {setting}") as session:
            assert session.scalar(text("SELECT COUNT(*) FROM oncetask_task")) == 1
            await store.renew({"lease": 2 * HOUR})
            await store.insert([new_task("b", run="of others")])
            assert session.scalar(text("SELECT COUNT(*) FROM oncetask_task")) == 1
            created = store.insert_in_now(session, [new_task("b"), new_task("c")])
            store.settle_in_now(session, task, done)
        found = (await store.get(["a", "b", "c"])).tasks

    assert [(answer.id, answer.created, answer.created_by) for answer in created] == [
        ("b", False, "creator of others of b"),
        ("c", True, "creator 1 of c"),
    ]
    assert (found["a"].outcome, found["b"].run_uid) == ("completed", "run of others of b")


@pytest.mark.parametrize("level", ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@asynchronous
async def test_transactions_of_every_isolation_level_take_part(level: str, databases: Databases) -> None:
    """They create and complete, and nothing is there before their commit."""
    url = databases.new()
    async with opened(url) as store:
        task = await taken(store)
        with a_session(url, isolation_level=level) as session:
            created = store.insert_in_now(session, [new_task("a"), new_task("b", key="k")])
            store.settle_in_now(session, task, done)
            before = (await store.get(["a", "b"])).tasks
        after = (await store.get(["a", "b"])).tasks

    assert [answer.created for answer in created] == [False, True]
    assert before == {"a": task}
    assert [after[name].outcome for name in "ab"] == ["completed", None]


@pytest.mark.usefixtures("slow_motion")
@asynchronous
async def test_an_id_that_exists_is_left_alone_without_a_lock(databases: Databases) -> None:
    """While the transaction that asked for it is open, its task is renewed and settled as before."""
    url = databases.new()
    async with opened(url) as store:
        task = await taken(store)
        with a_session(url) as session:
            (answer,) = store.insert_in_now(session, [new_task("a", run="2")])
            async with asyncio.timeout(A_MOMENT):
                renewed = await store.renew({"lease": HOUR})
                (settled,) = await store.apply([settlement(task)])

    assert not answer.created
    assert [lease.is_extended for lease in renewed.held] == [True]
    assert settled.verdict is Verdict.APPLIED


@pytest.mark.usefixtures("slow_motion")
@asynchronous
async def test_others_of_the_key_and_other_keys_go_on_while_a_transaction_completes_its_head(
    databases: Databases,
) -> None:
    """Creating, claiming, renewing: nobody waits; the next of the key has its seat after the commit."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k"), new_task("c", key="l")])
        first = (await store.claim(a_claim("first"))).tasks
        with a_session(url) as session:
            store.settle_in_now(session, first[0], done)
            store.insert_in_now(session, [new_task("follow-up", key="k"), new_task("another", key="m")])
            async with asyncio.timeout(A_MOMENT):
                await store.insert([new_task("d", key="k"), new_task("e", key="n"), new_task("f")])
                second = (await store.claim(a_claim("second"))).tasks
                renewed = await store.renew({"first": HOUR, "second": HOUR})
        async with opened(url) as later:
            third = (await later.claim(a_claim("third"))).tasks

    assert [task.id for task in first] == ["a", "c"]
    assert [task.id for task in second] == ["e", "f"]
    assert {lease.id: lease.is_extended for lease in renewed.held} == {"a": False, "c": True, "e": True, "f": True}
    assert [task.id for task in third] == ["b", "another"]


@asynchronous
async def test_whoever_creates_an_id_that_an_open_transaction_creates_waits_for_it(databases: Databases) -> None:
    """As for any unique key; afterwards the task exists, and it is told whose it is."""
    url = databases.new()
    async with opened(url) as store:
        with a_session(url) as first, a_session(url) as second:
            (created,) = store.insert_in_now(first, [new_task("a")])
            waiting = asyncio.ensure_future(asyncio.to_thread(store.insert_in_now, second, [new_task("a", run="2")]))
            await waits_for_a_lock(url)
            first.commit()
            (existed,) = await waiting

    assert (created.created, existed.created, existed.created_by) == (True, False, "creator 1 of a")


async def waits_for_a_lock(url: str) -> None:
    """Return once a transaction waits for another one."""
    name = url.rpartition("/")[2]
    waiting = f"""SELECT COUNT(*) FROM information_schema.INNODB_TRX
        WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%INSERT INTO `{name}`%'"""
    async with asyncio.timeout(SOON):
        while run(url, waiting) == ((0,),):  # noqa: ASYNC110 - the server alone knows
            await asyncio.sleep(0.2)  # it looks anew when nobody has asked for a tenth of a second


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT", "ANSI,IGNORE_SPACE"])
@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "utf8mb4"])
@asynchronous
async def test_a_text_arrives_as_it_was_meant_in_any_mode_and_character_set(
    mode: str, charset: str, databases: Databases
) -> None:
    """What the character set cannot say is an error of the driver or the server, and not stored as something else."""
    url = databases.new()
    hard = "é '\"\\ %s %(env)s :now; --"
    async with opened(url, env=f"env {hard}") as store:
        with a_session(f"{url}?charset={charset}", f"sql_mode = '{mode}'") as session:
            store.insert_in_now(session, [new_task(f"id {hard}", key=f"key {hard}")])
        found = (await store.get([f"id {hard}"])).tasks
        if charset != "utf8mb4":
            failing = a_session(f"{url}?charset={charset}", f"sql_mode = '{mode}'")
            with pytest.raises((UnicodeEncodeError, DataError)), failing as session:
                store.insert_in_now(session, [msgspec.structs.replace(new_task("b"), payload='"𝄞"')])
        (claimed,) = (await store.claim(a_claim("lease"))).tasks

    assert found[f"id {hard}"].resource_key == f"key {hard}"
    assert claimed.id == f"id {hard}"


@asynchronous
async def test_a_session_may_be_on_another_database_of_the_server(databases: Databases) -> None:
    """The tables carry the name of theirs."""
    async with opened(databases.new()) as store:
        with a_session(URL) as session:
            store.insert_in_now(session, [new_task("a", key="k")])
        (task,) = (await store.claim(a_claim("lease"))).tasks
        with a_session(URL) as session:
            store.settle_in_now(session, task, done)
        found = (await store.get(["a"])).tasks["a"]

    assert found.outcome == "completed"


@asynchronous
async def test_a_session_that_commits_each_statement_by_itself_is_refused(databases: Databases) -> None:
    """Also where SQLAlchemy does not know it, because the driver was told; nothing is written."""
    url = databases.new()
    async with opened(url) as store:
        task = await taken(store)
        with a_session(url, connect_args={"autocommit": True}) as session:
            with pytest.raises(ConfigurationError, match="commits by itself"):
                store.insert_in_now(session, [new_task("b")])
            with pytest.raises(ConfigurationError, match="commits by itself"):
                store.settle_in_now(session, task, done)
        found = (await store.get(["a", "b"])).tasks

    assert found == {"a": task}


@asynchronous
async def test_the_commit_of_whoever_has_lost_the_lease_fails(databases: Databases) -> None:
    """The server would commit what was written before the statement that failed: so the connection is ended."""
    url = databases.new()
    run(url, "CREATE TABLE ledger (note varchar(100))")
    async with opened(url) as store:
        task = await taken(store)
        stale = msgspec.structs.replace(task, epoch=task.epoch - 1)
        with pytest.raises(PendingRollbackError):
            commit_in_spite(store, url, stale)
        await store.apply([settlement(task)])

    assert run(url, "SELECT * FROM ledger") == ()


def commit_in_spite(store: MariadbStore, url: str, stale: OnceTask[object]) -> None:
    """Catch the error, and commit."""
    with a_session(url) as session:
        session.execute(text("INSERT INTO ledger VALUES ('before')"))
        with pytest.raises(LeaseLostError):
            store.settle_in_now(session, stale, done)


@asynchronous
async def test_the_errors_of_the_callers_driver_come_through(databases: Databases) -> None:
    """Time that ran out while it waited for a row, say."""
    url = databases.new()
    async with opened(url) as store:
        task = await taken(store)
        with a_session(url) as first:
            store.settle_in_now(first, task, done)
            hasty = a_session(url, "innodb_lock_wait_timeout = 0")
            with pytest.raises(OperationalError, match="Lock wait timeout exceeded"), hasty as second:
                store.settle_in_now(second, task, done)

        assert (await store.get(["a"])).tasks["a"].outcome == "completed"


@asynchronous
async def test_many_tasks_are_created_in_several_statements(databases: Databases) -> None:
    """Servers bound the length of one; the answers are in order."""
    url = databases.new()
    tasks = [new_task(f"t{number:04}", key=f"k{number % 7}" if number % 2 else None) for number in range(2500)]
    long = [task for task in tasks if task.id != "t0007"]
    async with opened(url) as store:
        await store.insert([new_task("t0007")])
        with a_session(url) as session:
            answers = store.insert_in_now(session, [*tasks, *long])

    assert [answer.id for answer in answers] == [task.id for task in (*tasks, *long)]
    assert [answer.id for answer in answers if answer.created] == [task.id for task in long]
    assert run(url, "SELECT COUNT(*) FROM oncetask_later") == ((7,),)
