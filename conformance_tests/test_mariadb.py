"""MariaDB, bound to the conformance suite: a database of its own for each case, read with PyMySQL."""

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import pytest
from pymysql.cursors import DictCursor
from sql_rows import raw_task

from oncetask_conformance import INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS, RawTask, Space, conformance
from oncetask_core.clock import Clock
from oncetask_core.store import TaskStore
from oncetask_sql.mariadb.store import open_mariadb

URL = os.environ.get("ONCETASK_TEST_MARIADB", "")
needs_server = pytest.mark.skipif(not URL, reason="no MariaDB: start one, or name it in ONCETASK_TEST_MARIADB")
pytestmark = [pytest.mark.store("mariadb"), needs_server]
_numbers = itertools.count(1)


class MariadbSpace:
    """One database, and a connection of its own to look into it."""

    def __init__(self, database: str, clock: Clock | None, connection: "pymysql.Connection[Any]") -> None:
        self._database = database
        self._clock = clock
        self._connection = connection

    def store(self, env: str) -> TaskStore:
        """Return another instance on the database."""
        return open_mariadb(f"{URL.rpartition('/')[0]}/{self._database}", env=env, clock=self._clock)

    async def read(self, env: str) -> Sequence[RawTask]:
        """Return the rows of an environment."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {self._database}.oncetask_task WHERE env = %s", (env,))
            return [raw_task(row) for row in cursor.fetchall()]

    async def spoil(self, env: str, task_id: str) -> None:
        """Leave half a document in a column."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self._database}.oncetask_task SET errors = '[{{' WHERE env = %s AND id = %s", (env, task_id)
            )


class MariadbHarness:
    """Binds the MariaDB store."""

    capabilities = frozenset({INJECTED_CLOCK, REPEATS_AT_ONCE, SEATS, SPOILED_RECORDS})

    @asynccontextmanager
    async def space(self, clock: Clock | None) -> AsyncIterator[Space]:
        """Return a database that is removed afterwards."""
        database = f"case_{os.getpid()}_{next(_numbers)}"
        with closing(_connection()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {database}")
            yield MariadbSpace(database, clock, connection)
            cursor.execute(f"DROP DATABASE {database}")


def _connection() -> "pymysql.Connection[DictCursor]":
    parts = urlsplit(URL)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        charset="utf8mb4",
        collation="utf8mb4_nopad_bin",
        autocommit=True,
        cursorclass=DictCursor,
        ssl_disabled=True,  # else it reads all authorities that the system trusts, for 20 ms
    )


globals().update(conformance(MariadbHarness()))
