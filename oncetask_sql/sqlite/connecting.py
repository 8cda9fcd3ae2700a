"""Opening one connection: the file's mode, durability and caches."""

import functools
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from oncetask_core.errors import ConfigurationError
from oncetask_sql.sqlite import failures
from oncetask_sql.sqlite.location import Location

OLDEST_SQLITE: Final = (3, 35, 0)
"""RETURNING and UPDATE FROM."""
LOCK_SECONDS: Final = 0.005
"""How long SQLite itself waits for a lock; whoever is not served by then waits in `Lane`, which is fairer."""
CACHED_STATEMENTS: Final = 256
_PAGE_CACHE_KIB = 16 * 1024
_LOG_LIMIT_BYTES = 64 * 1024 * 1024

# Damaged text must not keep the rows beside it from being read: `codec` refuses what is no proper text.
_text = functools.partial(str, encoding="utf-8", errors="surrogateescape")


def check_library() -> None:
    """Refuse a SQLite library that is too old.

    Raises:
        ConfigurationError: It lacks statements that the store needs.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(
            value=sqlite3.sqlite_version,
            rule=f"the SQLite library is {'.'.join(map(str, OLDEST_SQLITE))} or newer",
            remedy="Install a Python that was built with a newer SQLite.",
        )


class FileConnection(sqlite3.Connection):
    """A connection that knows its file again: a deleted one stays open, and takes writes that nobody will read."""

    _opened: tuple[int, int] | None = None

    def remember(self, path: Path) -> None:
        """Take what is at a path for the file that is open."""
        self._opened = _identity(path)

    def check_is_at(self, path: Path) -> None:
        """Refuse to go on with a file that is not at the path any more.

        Raises:
            StoreError: There is none, or another one.
        """
        if self._opened is None or _identity(path) != self._opened:
            raise failures.lost(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(location: Location, *, create: bool = False) -> FileConnection:
    """Return a connection in autocommit mode; transactions are begun and ended by statements.

    Args:
        location: The file.
        create: Whether to create the file where there is none.

    Raises:
        ConfigurationError: The file system does not support a write-ahead log.
        sqlite3.Error: The file cannot be opened.
    """
    uri = f"file:{quote(str(location.path))}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=LOCK_SECONDS,
        isolation_level=None,
        cached_statements=CACHED_STATEMENTS,
        factory=FileConnection,
    )
    try:
        _prepare(connection, location)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: FileConnection, location: Location) -> None:
    connection.text_factory = _text
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            value=str(location.path),
            rule=f"the store needs a write-ahead log, but the journal mode stays {mode!r}",
            remedy="Use a local file system, and close programs that hold the file in another mode.",
        )
    connection.remember(location.path)  # here at the latest it was created
    connection.execute(f"PRAGMA synchronous={location.synchronous}")
    connection.execute(f"PRAGMA cache_size=-{_PAGE_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit={_LOG_LIMIT_BYTES}")
    connection.execute("PRAGMA temp_store=MEMORY")
