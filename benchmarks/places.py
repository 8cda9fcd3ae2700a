"""Where the benchmarks keep their tasks: a new place for each measurement, and the raw limit of its kind."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg

from benchmarks.raw import asyncio_rate, postgresql_rate, sqlite_rate
from benchmarks.workload import Nothing, fill
from oncetask import MemoryStore
from oncetask_core.store import TaskStore
from oncetask_sql.postgresql import migrating


class Places(Protocol):
    """A kind of store."""

    def fresh(self) -> TaskStore | str:
        """Return an empty store, or its URL."""
        ...

    def filled(self, tasks: int, *, keys: int = 0) -> TaskStore | str:
        """Return a store in which tasks wait."""
        ...

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second without a library."""
        ...


class MemoryPlaces:
    """Stores in memory."""

    def fresh(self) -> TaskStore | str:
        """Return an empty store."""
        return MemoryStore()

    def filled(self, tasks: int, *, keys: int = 0) -> TaskStore | str:
        """Return a store in which tasks wait."""
        store = MemoryStore()
        asyncio.run(fill(store, tasks, keys=keys))
        return store

    def raw_rate(self, tasks: int) -> float:
        """Return jobs per second through an asyncio queue."""
        return asyncio.run(asyncio_rate(tasks))


class SqlitePlaces:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def fresh(self) -> TaskStore | str:
        """Return the URL of a file that does not exist."""
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}"

    def filled(self, tasks: int, *, keys: int = 0) -> TaskStore | str:
        """Return the URL of a file in which tasks wait."""
        url = self.fresh()
        asyncio.run(fill(url, tasks, keys=keys))
        return url

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second through a small table."""
        place = self._folder / f"raw-{next(self._numbers)}"
        place.mkdir()
        return sqlite_rate(place, tasks)


class PostgresqlPlaces:
    """Schemas on a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count(1)

    def fresh(self) -> TaskStore | str:
        """Return the URL of a schema with empty tables."""
        url = f"{self._url}?schema=bench_{next(self._numbers)}"
        migrating.migrate(url)
        return url

    def filled(self, tasks: int, *, keys: int = 0) -> TaskStore | str:
        """Return the URL of a schema in which tasks wait, with current statistics."""
        url = str(self.fresh())
        asyncio.run(fill(url, tasks, keys=keys))
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"VACUUM ANALYZE {_schema(url)}.oncetask_task".encode())
        return url

    def raw_rate(self, tasks: int) -> float:
        """Return tasks per second through the same tables by hand; the keyless ones of `Nothing`."""
        url = str(self.filled(tasks))
        return postgresql_rate(self._url, _schema(url), tasks, kind=Nothing.kind)


def _schema(url: str) -> str:
    return url.partition("?schema=")[2]
