"""What the machine can do at most: the same work without a library, in the same run."""

import asyncio
import sqlite3
import time
from pathlib import Path

import psycopg

from oncetask_sql.mariadb.connecting import connect
from oncetask_sql.mariadb.location import located

BATCH = 200


async def asyncio_rate(tasks: int) -> float:
    """Return jobs per second through an asyncio queue, each in a task of its own with a time limit."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(tasks):
        queue.put_nowait(number)
    done = 0

    async def job() -> None:
        nonlocal done
        async with asyncio.timeout(600):
            await asyncio.sleep(0)
            done += 1

    began = time.perf_counter()
    while not queue.empty():
        batch = [queue.get_nowait() for _ in range(min(BATCH, queue.qsize()))]
        await asyncio.gather(*(asyncio.create_task(job()) for _ in batch))
    seconds = time.perf_counter() - began
    if done != tasks:
        raise AssertionError(f"{tasks - done} jobs were left")
    return tasks / seconds


def sqlite_rate(folder: Path, tasks: int) -> float:
    """Return tasks per second through a small table: claim a batch, complete it, each durably (WAL, FULL)."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, payload TEXT, state INTEGER, lease TEXT, result TEXT)")
    connection.execute("CREATE INDEX ready ON t (id) WHERE state = 0")
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO t VALUES (?, '{}', 0, NULL, NULL)", ((f"n{n}",) for n in range(tasks)))
    connection.execute("COMMIT")
    began = time.perf_counter()
    while True:
        connection.execute("BEGIN IMMEDIATE")
        rows = connection.execute(
            "UPDATE t SET state = 1, lease = 'x' WHERE id IN (SELECT id FROM t WHERE state = 0 ORDER BY id LIMIT ?) "
            "RETURNING id, payload",
            (BATCH,),
        ).fetchall()
        connection.execute("COMMIT")
        if not rows:
            break
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "UPDATE t SET state = 2, lease = NULL WHERE id = ? AND lease = 'x'", [(r[0],) for r in rows]
        )
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return tasks / seconds


_RAW_CLAIM = """UPDATE {schema}.oncetask_task SET lease_uid = %s, leased_until = 0, claims = claims + 1
    WHERE env = 'DEFAULT' AND id = ANY (ARRAY(
        SELECT id FROM {schema}.oncetask_task WHERE env = 'DEFAULT' AND kind = %s AND order_at <= %s
        AND outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
        AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0
        ORDER BY order_at, sequence LIMIT %s FOR NO KEY UPDATE SKIP LOCKED)) RETURNING *"""
_RAW_SETTLE = """UPDATE {schema}.oncetask_task AS t SET lease_uid = NULL, leased_until = NULL, outcome = 'completed',
    done_at = 1 FROM unnest(%s::text[]) AS given (id)
    WHERE env = 'DEFAULT' AND t.id = given.id AND t.lease_uid IS NOT DISTINCT FROM %s"""


def postgresql_rate(url: str, schema: str, tasks: int, *, kind: str) -> float:
    """Return tasks per second through the tables of a store by hand: claim a batch, complete it; one connection.

    Args:
        url: The server.
        schema: Where the tasks wait.
        tasks: How many.
        kind: Their kind.
    """
    claim, settle = _RAW_CLAIM.format(schema=schema), _RAW_SETTLE.format(schema=schema)
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        done = 0
        began = time.perf_counter()
        while rows := connection.execute(claim, ("x", kind, 2**62, BATCH)).fetchall():
            connection.execute(settle, ("{" + ",".join(row[1] for row in rows) + "}", "x"))
            done += len(rows)
        seconds = time.perf_counter() - began
    if done != tasks:
        raise AssertionError(f"{tasks - done} tasks were left")
    return tasks / seconds


_MARIADB_READY = """SELECT id, oncetask_task.* FROM oncetask_task FORCE INDEX (oncetask_task_ready)
    WHERE env = 'DEFAULT' AND kind = %s AND ready_at <= %s AND outcome IS NULL AND lease_uid IS NULL
    ORDER BY ready_at, sequence LIMIT %s FOR UPDATE SKIP LOCKED"""
_MARIADB_CLAIM = """UPDATE oncetask_task SET lease_uid = 'x', leased_until = 0, claims = claims + 1
    WHERE env = 'DEFAULT' AND id IN %s"""
_MARIADB_SETTLE = """UPDATE oncetask_task SET lease_uid = NULL, leased_until = NULL, outcome = 'completed', done_at = 1
    WHERE env = 'DEFAULT' AND id IN %s AND lease_uid = 'x'"""


async def mariadb_rate(url: str, tasks: int, *, kind: str) -> float:
    """Return tasks per second through the tables of a store by hand: lock and claim a batch, complete it.

    Args:
        url: The database in which the tasks wait.
        tasks: How many.
        kind: Their kind.
    """
    connection = await connect(located(url))
    cursor = connection.cursor()
    done = 0
    began = time.perf_counter()
    while True:
        await cursor.execute("START TRANSACTION")
        await cursor.execute(_MARIADB_READY, (kind, 2**62, BATCH))
        ids = [row[0] for row in await cursor.fetchall()]
        if not ids:
            break
        await cursor.execute(_MARIADB_CLAIM, (tuple(ids),))
        await cursor.execute("COMMIT")
        await cursor.execute(_MARIADB_SETTLE, (tuple(ids),))
        done += len(ids)
    seconds = time.perf_counter() - began
    await connection.ensure_closed()
    if done != tasks:
        raise AssertionError(f"{tasks - done} tasks were left")
    return tasks / seconds
