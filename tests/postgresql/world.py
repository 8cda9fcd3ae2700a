"""A schema of the test's own on a real server, stores on it, and a connection that looks around them."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from oncetask_core.clock import Clock
from oncetask_sql.postgresql import PostgresqlStore, open_postgresql, opening
from oncetask_sql.postgresql.location import located
from tests.opening import open_meanwhile

URL = os.environ.get("ONCETASK_TEST_POSTGRESQL", "")
GRANT = re.compile(r"^GRANT (.*? ON (?:SEQUENCE )?)(oncetask_.*) TO worker;$", re.MULTILINE)
LEAST = GRANT.findall((Path(__file__).parents[2] / "docs" / "postgresql.md").read_text(encoding="utf-8"))
"""What the documentation says that a role needs which creates and runs tasks, and migrates nothing."""

needs_server = pytest.mark.skipif(not URL, reason="no PostgreSQL: start one, or name it in ONCETASK_TEST_POSTGRESQL")

_numbers = itertools.count(1)


class Schemas:
    """Makes schemas and removes them again."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def empty(self) -> str:
        """Return the URL of a schema that does not exist."""
        self._made.append(f"test_{os.getpid()}_{next(_numbers)}")
        return f"{URL}?schema={self._made[-1]}"

    def new(self) -> str:
        """Return the URL of a schema with empty tables."""
        url = self.empty()
        with connected() as connection:
            connection.execute(opening.script(located(url), after=0).encode())
        return url

    def remove(self) -> None:
        """Remove what was made."""
        with connected() as connection:
            for schema in self._made:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def schema_of(url: str) -> str:
    """Return the schema that a URL names."""
    return url.partition("?schema=")[2].partition("&")[0]


def named(url: str) -> str:
    """Return the URL with an application's name that no other test's connections have."""
    return f"{url}&application_name={schema_of(url)}"


def connections(url: str, condition: str = "TRUE") -> int:
    """Return how many connections the stores of such a URL have."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s AND {condition}"
    with connected() as connection:
        row = connection.execute(query.encode(), (f"{located(url).application_name} %",)).fetchone()
    return int(row[0]) if row else 0


def connected(**options: Any) -> "contextlib.AbstractContextManager[psycopg.Connection[Any]]":
    """Return a connection to the server, in autocommit mode unless told otherwise."""
    return psycopg.connect(URL, **({"autocommit": True} | options))


@contextlib.contextmanager
def a_transaction(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield somebody else's open transaction, in the schema; it is rolled back at the end."""
    with connected(autocommit=False, options=f"-c search_path={schema_of(url)}") as connection:
        yield connection
        connection.rollback()


def all_stripes(url: str) -> str:
    """Return the statement that takes the stripes of all keys of a schema."""
    return f"SELECT pg_advisory_xact_lock({located(url).names.lock_space}, n) FROM generate_series(0, 255) AS n"


@contextlib.contextmanager
def a_role(url: str, grants: Sequence[tuple[str, str]], *, setting: str = "") -> Iterator[str]:
    """Yield the URL of the same schema for a new role.

    Args:
        url: The schema.
        grants: What it may do there, as rights and names: `("SELECT ON ", "oncetask_task, oncetask_control")`.
        setting: What its sessions begin with, such as `work_mem = '1MB'`.
    """
    name, schema = f"role_{os.getpid()}_{next(_numbers)}", schema_of(url)
    wanted = [f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA {schema} TO {name}"]
    for rights, names in grants:
        qualified = ", ".join(f"{schema}.{one}" for one in names.split(", "))
        wanted.append(f"GRANT {rights}{qualified} TO {name}")
    wanted += [f"ALTER ROLE {name} SET {setting}"] if setting else []
    with connected() as connection:
        for statement in wanted:
            connection.execute(statement.encode())
        try:
            yield f"postgresql://{name}@{URL.partition('@')[2]}?schema={schema}"
        finally:
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def opened(
    url: str, *, env: str = "DEFAULT", clock: Clock | None = None
) -> contextlib.AbstractAsyncContextManager[PostgresqlStore]:
    """Yield an open store."""
    return open_meanwhile(open_postgresql(url, env=env, clock=clock))
