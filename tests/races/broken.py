"""The negative controls: claims that cannot work."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import asyncmy
import psycopg
from asyncmy.errors import OperationalError

from oncetask_core.claims import Claim
from oncetask_core.store import Claimed, TaskStore
from oncetask_sql.mariadb.connecting import connect
from oncetask_sql.mariadb.location import located


class DeferredClaims:
    """Passes everything on to a store, except for claims, which are two transactions: a deferred read, a write.

    As one transaction it would be refused where it is wrong, and not do it: with a write-ahead log SQLite lets nobody
    write who has read what somebody else has changed since (SQLITE_BUSY_SNAPSHOT, https://sqlite.org/isolation.html).
    Whoever gets rid of these errors by committing the read first, or by looking in autocommit mode, has this claim.
    """

    def __init__(self, store: TaskStore, path: Path) -> None:
        self._store = store
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim without a guard, then read what was claimed."""
        await asyncio.to_thread(self._claim, claim)
        return await self._store.claim(claim)

    def _claim(self, claim: Claim) -> None:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        connection.execute("BEGIN DEFERRED")
        free = connection.execute(
            "SELECT id FROM oncetask_task WHERE head_key IS NOT NULL AND lease_uid IS NULL LIMIT 1"
        ).fetchall()
        connection.execute("COMMIT")
        for (task_id,) in free:
            connection.execute(
                "UPDATE oncetask_task SET lease_uid = ?, leased_by = ?, revision = revision + 1, "
                "leased_until = wait_until + 60000000 WHERE id = ?",
                (claim.lease_uid, claim.leased_by, task_id),
            )
        connection.close()


class NotExistsClaims:
    """Passes everything on to a store, except for claims, which take a task whose key nobody seems to hold."""

    def __init__(self, store: TaskStore, url: str, schema: str) -> None:
        self._store = store
        self._url = url
        self._task = f"{schema}.oncetask_task"
        self._connection: psycopg.AsyncConnection[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim by one statement that no other claim waits for, then read what was claimed."""
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        await self._connection.execute(
            f"""UPDATE {self._task} SET lease_uid = %s, leased_by = %s, revision = revision + 1,
                leased_until = wait_until + 60000000 WHERE id = (
                    SELECT id FROM {self._task} AS t WHERE lease_uid IS NULL AND outcome IS NULL AND NOT EXISTS (
                        SELECT 1 FROM {self._task} AS o WHERE o.resource_key = t.resource_key
                        AND o.lease_uid IS NOT NULL) LIMIT 1 FOR UPDATE SKIP LOCKED)""",
            (claim.lease_uid, claim.leased_by),
        )
        return await self._store.claim(claim)

    async def close(self) -> None:
        """Close both connections."""
        if self._connection is not None:
            await self._connection.close()
        await self._store.close()


class MariadbNotExistsClaims:
    """The same on MariaDB, where a claim is a locking read and a write."""

    def __init__(self, store: TaskStore, url: str) -> None:
        self._store = store
        self._url = url
        self._connection: asyncmy.connection.Connection | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim what no other claim has locked and nobody seems to hold, then read what was claimed."""
        if self._connection is None:
            self._connection = await connect(located(self._url))
        with contextlib.suppress(OperationalError):  # a deadlock: the server has rolled this claim back
            await self._claim(self._connection.cursor(), claim)
        return await self._store.claim(claim)

    @staticmethod
    async def _claim(cursor: asyncmy.cursors.Cursor, claim: Claim) -> None:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await cursor.execute("START TRANSACTION")
        await cursor.execute(
            """SELECT t.sequence FROM oncetask_task AS t WHERE t.lease_uid IS NULL AND t.outcome IS NULL
            AND t.resource_key NOT IN (
                SELECT resource_key FROM (
                    SELECT resource_key FROM oncetask_task WHERE lease_uid IS NOT NULL) AS held)
            LIMIT 1 FOR UPDATE SKIP LOCKED"""
        )
        for (sequence,) in await cursor.fetchall():
            await cursor.execute(
                "UPDATE oncetask_task SET lease_uid = %s, leased_by = %s, revision = revision + 1, "
                "leased_until = wait_until + 60000000 WHERE sequence = %s",
                (claim.lease_uid, claim.leased_by, sequence),
            )
        await cursor.execute("COMMIT")

    async def close(self) -> None:
        """Close both connections."""
        if self._connection is not None:
            await self._connection.ensure_closed()
        await self._store.close()
