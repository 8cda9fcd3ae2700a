"""A place on each of the servers."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from oncetask_core.clock import Clock
from oncetask_sql.mariadb import open_mariadb
from oncetask_sql.postgresql import open_postgresql
from tests.mariadb import world as mariadb
from tests.mariadb.cutting import MariadbLink
from tests.postgresql import world as postgresql
from tests.postgresql.cutting import PostgresqlLink
from tests.servers.cutting import Decide, cutting
from tests.servers.world import ServerStore


class PostgresqlPlace:
    """A schema; the connections of its stores have a name of their own."""

    kind = "postgresql"

    def __init__(self) -> None:
        self._schemas = postgresql.Schemas()
        self.url = postgresql.named(self._schemas.new())

    def run(self, *statements: str) -> Sequence[tuple[Any, ...]]:
        """Run statements around the store; return the rows of the last."""
        with postgresql.connected(options=f"-c search_path={postgresql.schema_of(self.url)}") as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def transaction(self, statement: str) -> Iterator[None]:
        """Open somebody else's transaction that has run a statement; it is rolled back at the end."""
        with postgresql.a_transaction(self.url) as other:
            other.execute(statement.encode())
            yield

    def seating(self) -> AbstractContextManager[object]:
        """Open somebody else's transaction that has the stripes of all keys."""
        return self.transaction(postgresql.all_stripes(self.url))

    def connections(self) -> int:
        """Return how many connections of stores there are."""
        return postgresql.connections(self.url)

    def preferring(self, setting: str) -> AbstractContextManager[str]:
        """Let sessions begin with a setting; yield the URL for somebody with the least rights that work."""
        assert len(postgresql.LEAST) == 3
        return postgresql.a_role(self.url, postgresql.LEAST, setting=setting)

    def reading(self) -> AbstractContextManager[str]:
        """Yield the URL for somebody who may only read."""
        return postgresql.a_role(self.url, [("SELECT ON ", "oncetask_task, oncetask_migration")])

    def empty(self) -> str:
        """Return the URL of another place, which has no tables; it is removed with this one."""
        return self._schemas.empty()

    def run_script(self, url: str, script: str) -> None:
        """Run a script of several statements at another place."""
        with postgresql.connected(options=f"-c search_path={postgresql.schema_of(url)}") as connection:
            connection.execute(script.encode())

    def description(self, url: str) -> Sequence[object]:
        """Return what there is to say of the tables at another place, column by column."""
        columns = f"""SELECT table_name, column_name, data_type, column_default, is_nullable
            FROM information_schema.columns WHERE table_schema = '{postgresql.schema_of(url)}'
            ORDER BY 1, ordinal_position"""
        return self.run(columns)

    def store(self, url: str = "") -> ServerStore:
        """Return a store that is not open, of the place's own URL or of another one."""
        return open_postgresql(url or self.url)

    def opened(self, url: str = "", *, clock: Clock | None = None) -> AbstractAsyncContextManager[ServerStore]:
        """Yield an open store, of the place's own URL or of another one."""
        return postgresql.opened(url or self.url, clock=clock)

    @contextlib.asynccontextmanager
    async def way(self, decide: Decide) -> AsyncIterator[str]:
        """Yield the URL of the same schema behind something that cuts."""
        parts = urlsplit(postgresql.URL)
        link = partial(PostgresqlLink, decide)
        async with cutting(parts.hostname or "localhost", parts.port or 5432, link) as port:
            place = f"postgresql://{_user(parts.netloc)}127.0.0.1:{port}{parts.path}"
            yield f"{place}?schema={postgresql.schema_of(self.url)}&sslmode=disable&gssencmode=disable"

    @contextlib.asynccontextmanager
    async def opened_behind(self, decide: Decide) -> AsyncIterator[ServerStore]:
        """Yield an open store whose connections are cut."""
        async with self.way(decide) as url, postgresql.opened(url) as store:
            yield store

    def alchemy(self, *, awaited: bool = False) -> str:
        """Return the URL of the schema for SQLAlchemy; the driver does both."""
        url = postgresql.URL.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"{url}?options=-csearch_path%3D{postgresql.schema_of(self.url)}"

    def django(self) -> dict[str, Any]:
        """Return what Django's DATABASES say of the schema."""
        server = psycopg.conninfo.conninfo_to_dict(postgresql.URL)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": server["dbname"],
            "USER": server["user"],
            "PASSWORD": server.get("password", ""),
            "HOST": server["host"],
            "PORT": server["port"],
            "OPTIONS": {"options": f"-c search_path={postgresql.schema_of(self.url)}"},
        }

    def remove(self) -> None:
        """Remove the schema."""
        self._schemas.remove()


class MariadbPlace:
    """A database."""

    kind = "mariadb"

    def __init__(self) -> None:
        self._databases = mariadb.Databases()
        self.url = self._databases.new()

    def run(self, *statements: str) -> Sequence[tuple[Any, ...]]:
        """Run statements around the store; return the rows of the last."""
        return mariadb.run(self.url, *statements)

    def transaction(self, statement: str) -> AbstractContextManager[object]:
        """Open somebody else's transaction that has run a statement; it is rolled back at the end."""
        return mariadb.a_transaction(self.url, statement)

    def seating(self) -> AbstractContextManager[object]:
        """Open somebody else's transaction that has the stripes of all keys."""
        return self.transaction("SELECT 1 FROM oncetask_stripe WHERE number < 256 FOR UPDATE")

    def connections(self) -> int:
        """Return how many connections of stores there are; the one that asks is none."""
        ((count,),) = self.run("SELECT COUNT(*) - 1 FROM information_schema.PROCESSLIST WHERE DB = DATABASE()")
        return int(count)

    @contextlib.contextmanager
    def preferring(self, setting: str) -> Iterator[str]:
        """Let sessions begin with a setting; yield the URL for somebody with the least rights that work."""
        assert len(mariadb.LEAST) == 6
        mariadb.run(mariadb.URL, f'SET GLOBAL init_connect = "SET {setting}"')
        try:
            with mariadb.a_user(self.url, mariadb.LEAST) as user:
                yield user
        finally:
            mariadb.run(mariadb.URL, "SET GLOBAL init_connect = ''")

    def reading(self) -> AbstractContextManager[str]:
        """Yield the URL for somebody who may only read."""
        tables = ("oncetask_task", "oncetask_migration", "oncetask_control")
        return mariadb.a_user(self.url, [("SELECT", table) for table in tables])

    def empty(self) -> str:
        """Return the URL of another place, which has no tables; it is removed with this one."""
        return self._databases.empty()

    def run_script(self, url: str, script: str) -> None:
        """Run a script of several statements at another place."""
        mariadb.run(url, *(part for part in script.split(";\n\n") if part))

    def description(self, url: str) -> Sequence[object]:
        """Return what there is to say of the tables at another place, column by column."""
        ((_, table),) = mariadb.run(url, "SHOW CREATE TABLE oncetask_task")
        return str(table).splitlines()

    def store(self, url: str = "") -> ServerStore:
        """Return a store that is not open, of the place's own URL or of another one."""
        return open_mariadb(url or self.url)

    def opened(self, url: str = "", *, clock: Clock | None = None) -> AbstractAsyncContextManager[ServerStore]:
        """Yield an open store, of the place's own URL or of another one."""
        return mariadb.opened(url or self.url, clock=clock)

    @contextlib.asynccontextmanager
    async def way(self, decide: Decide) -> AsyncIterator[str]:
        """Yield the URL of the same database behind something that cuts."""
        parts = urlsplit(self.url)
        link = partial(MariadbLink, decide, self._is_running)
        async with cutting(parts.hostname or "127.0.0.1", parts.port or 3306, link) as port:
            yield f"mysql://{_user(parts.netloc)}127.0.0.1:{port}{parts.path}"

    @contextlib.asynccontextmanager
    async def opened_behind(self, decide: Decide) -> AsyncIterator[ServerStore]:
        """Yield an open store whose connections are cut."""
        async with self.way(decide) as url, mariadb.opened(url) as store:
            yield store

    def alchemy(self, *, awaited: bool = False) -> str:
        """Return the URL of the database for SQLAlchemy."""
        return self.url.replace("mysql://", "mysql+asyncmy://" if awaited else "mariadb+pymysql://", 1)

    def django(self) -> dict[str, Any]:
        """Return what Django's DATABASES say of the database; PyMySQL stands in for the driver that it wants."""
        pymysql.version_info = (2, 2, 7, "final", 0)  # what Django asks for
        pymysql.install_as_MySQLdb()
        parts = urlsplit(self.url)
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": parts.path.removeprefix("/"),
            "USER": parts.username,
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname,
            "PORT": str(parts.port),
        }

    def remove(self) -> None:
        """Remove the database."""
        self._databases.remove()

    def _is_running(self, thread: int) -> bool:
        threads = f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {thread}"
        return bool(self.run(threads)[0][0])


PLACES = [
    pytest.param(PostgresqlPlace, id="postgresql", marks=postgresql.needs_server),
    pytest.param(MariadbPlace, id="mariadb", marks=mariadb.needs_server),
]


def on_postgresql(*values: object) -> object:
    """Return parameters of a test of which the first is a place: there, with these others."""
    return pytest.param(PostgresqlPlace, *values, id=_named("postgresql", values[0]), marks=postgresql.needs_server)


def on_mariadb(*values: object) -> object:
    """Return parameters of a test of which the first is a place: there, with these others."""
    return pytest.param(MariadbPlace, *values, id=_named("mariadb", values[0]), marks=mariadb.needs_server)


def _named(kind: str, value: object) -> str:
    return f"{kind}-{getattr(value, '__name__', value)}"


def _user(place: str) -> str:
    """Return who connects, from `user:password@host:port`, as it stands in a URL."""
    user, at, _ = place.rpartition("@")
    return f"{user}{at}"
