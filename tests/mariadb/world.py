"""A database of the test's own on a real server, stores on it, and connections that look around them."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import pytest

from oncetask_core.clock import Clock
from oncetask_sql.mariadb import MariadbStore, open_mariadb, opening
from oncetask_sql.mariadb.location import located
from tests.opening import open_meanwhile

URL = os.environ.get("ONCETASK_TEST_MARIADB", "")
SERVER = URL.rpartition("/")[0]
GRANT = re.compile(r"^GRANT (.*?) ON shop\.(oncetask_.*) TO worker;$", re.MULTILINE)
LEAST = GRANT.findall((Path(__file__).parents[2] / "docs" / "mariadb.md").read_text(encoding="utf-8"))
"""What the documentation says that a user needs who creates and runs tasks, and migrates nothing."""

needs_server = pytest.mark.skipif(not URL, reason="no MariaDB: start one, or name it in ONCETASK_TEST_MARIADB")

_numbers = itertools.count(1)


class Databases:
    """Makes databases and removes them again."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def empty(self) -> str:
        """Return the URL of an empty database."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._made.append(name)
        run(URL, f"CREATE DATABASE {name}")
        return f"{SERVER}/{name}"

    def new(self) -> str:
        """Return the URL of a database with empty tables."""
        url = self.empty()
        run(url, *opening.statements(located(url), after=0))
        return url

    def remove(self) -> None:
        """Remove what was made."""
        for name in self._made:
            run(URL, f"DROP DATABASE {name}")


@contextlib.contextmanager
def connected(url: str, *, autocommit: bool = True) -> "Iterator[pymysql.Connection[Any]]":
    """Yield a connection to the database of a URL."""
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=parts.path.removeprefix("/"),
        charset="utf8mb4",
        collation="utf8mb4_nopad_bin",
        autocommit=autocommit,
        ssl_disabled=True,  # else it reads all authorities that the system trusts, for 20 ms
    )
    with contextlib.closing(connection):
        yield connection


def run(url: str, *statements: str) -> Sequence[tuple[Any, ...]]:
    """Run statements in the database of a URL; return the rows of the last."""
    with connected(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows


@contextlib.contextmanager
def a_transaction(url: str, statement: str) -> "Iterator[pymysql.Connection[Any]]":
    """Yield somebody else's open transaction that has run a statement; it is rolled back at the end."""
    with connected(url, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        yield connection
        connection.rollback()


@contextlib.contextmanager
def a_user(url: str, grants: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the URL of the same database for a new user.

    Args:
        url: The database.
        grants: What it may do there, as rights and table: `("SELECT", "oncetask_task")`.
    """
    name, database = f"user_{os.getpid()}_{next(_numbers)}", urlsplit(url).path.removeprefix("/")
    wanted = [f"CREATE USER {name}@'%'"]
    wanted += [f"GRANT {rights} ON {database}.{table} TO {name}@'%'" for rights, table in grants]
    run(URL, *wanted)
    try:
        yield f"mysql://{name}@{url.partition('@')[2]}"
    finally:
        run(URL, f"DROP USER {name}@'%'")


def opened(
    url: str, *, env: str = "DEFAULT", clock: Clock | None = None
) -> contextlib.AbstractAsyncContextManager[MariadbStore]:
    """Yield an open store."""
    return open_meanwhile(open_mariadb(url, env=env, clock=clock))
