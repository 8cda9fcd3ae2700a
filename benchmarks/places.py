"""Where the benchmarks keep their tasks: a new place for each measurement, and the raw limit of its kind."""

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg

from benchmarks.raw import asyncio_rate, mariadb_rate, postgresql_rate, sqlite_rate
from benchmarks.workload import Nothing, fill
from oncetask import MemoryStore
from oncetask_core.store import TaskStore
from oncetask_sql.mariadb import migrating as mariadb_migrating
from oncetask_sql.mariadb.connecting import connect
from oncetask_sql.mariadb.location import located
from oncetask_sql.postgresql import migrating
from tools.servers import Server


class Places(Protocol):
    """A kind of store.

    Attributes:
        shared: Whether several processes can work on a place, which is named by a URL then.
    """

    shared: bool

    def fresh(self) -> TaskStore | str:
        """Return an empty store, or its URL."""
        ...

    def filled(self, tasks: int, *keys: int) -> TaskStore | str:
        """Return a store in which so many tasks wait for each number of keys, one after the other; 0 are keyless."""
        ...

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second without a library."""
        ...


class MemoryPlaces:
    """Stores in memory."""

    shared = False

    def fresh(self) -> TaskStore | str:
        """Return an empty store."""
        return MemoryStore()

    def filled(self, tasks: int, *keys: int) -> TaskStore | str:
        """Return a store in which tasks wait."""
        return _filled(MemoryStore(), tasks, keys)

    def raw_rate(self, tasks: int) -> float:
        """Return jobs per second through an asyncio queue."""
        return asyncio.run(asyncio_rate(tasks))


class SqlitePlaces:
    """Files in a folder."""

    shared = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def fresh(self) -> TaskStore | str:
        """Return the URL of a file that does not exist."""
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}"

    def filled(self, tasks: int, *keys: int) -> TaskStore | str:
        """Return the URL of a file in which tasks wait."""
        return _filled(self.fresh(), tasks, keys)

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second through a small table."""
        place = self._folder / f"raw-{next(self._numbers)}"
        place.mkdir()
        return sqlite_rate(place, tasks)


class PostgresqlPlaces:
    """Schemas on a server."""

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count(1)

    def fresh(self) -> TaskStore | str:
        """Return the URL of a schema with empty tables."""
        url = f"{self._url}?schema=bench_{next(self._numbers)}"
        migrating.migrate(url)
        return url

    def filled(self, tasks: int, *keys: int) -> TaskStore | str:
        """Return the URL of a schema in which tasks wait, with current statistics."""
        url = str(_filled(self.fresh(), tasks, keys))
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"VACUUM ANALYZE {_schema(url)}.oncetask_task".encode())
        return url

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second through the same tables by hand; the keyless ones of `Nothing`."""
        url = str(self.filled(tasks, 0))
        return postgresql_rate(self._url, _schema(url), tasks, kind=Nothing.kind)


class MariadbPlaces:
    """Databases on a server."""

    shared = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = count(1)

    def fresh(self) -> TaskStore | str:
        """Return the URL of a database with empty tables."""
        url = self._server.create_database(f"bench_{next(self._numbers)}")
        mariadb_migrating.migrate(url)
        return url

    def filled(self, tasks: int, *keys: int) -> TaskStore | str:
        """Return the URL of a database in which tasks wait, with current statistics."""
        url = str(_filled(self.fresh(), tasks, keys))
        asyncio.run(_analyse(url))
        return url

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second through the same tables by hand; the keyless ones of `Nothing`."""
        return asyncio.run(mariadb_rate(str(self.filled(tasks, 0)), tasks, kind=Nothing.kind))


async def _analyse(url: str) -> None:
    connection = await connect(located(url))
    await connection.cursor().execute("ANALYZE TABLE oncetask_task")
    await connection.ensure_closed()


def _filled(place: TaskStore | str, tasks: int, keys: Sequence[int]) -> TaskStore | str:
    for number in keys:
        asyncio.run(fill(place, tasks, keys=number))
    return place


def _schema(url: str) -> str:
    return url.partition("?schema=")[2]
