"""Opening a database file: the place, the schema, and whether it can be written."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final, TypeVar

from sqlalchemy.dialects import sqlite

from oncetask_core.errors import SchemaError
from oncetask_sql import migrations, schema
from oncetask_sql.sqlite import failures
from oncetask_sql.sqlite.connecting import check_library, connect
from oncetask_sql.sqlite.forks import Gate
from oncetask_sql.sqlite.location import Location
from oncetask_sql.sqlite.places import check_place
from oncetask_sql.sqlite.turns import READ, WRITE, Work, patiently, transact
from oncetask_sql.versions import check_not_newer, check_recorded, check_tables, check_version

T = TypeVar("T")

DIALECT: Final = "sqlite"
_SQLITE: Final = sqlite.dialect()
_RECORD: Final = "oncetask_migration"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'oncetask~_%' ESCAPE '~'"
_INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
_COLUMNS = "SELECT name, type FROM pragma_table_xinfo(?)"


def prepare(location: Location) -> None:
    """Check the place and the schema, which is created where there is none of ours yet.

    Raises:
        ConfigurationError: The file cannot be created, read or written there.
        SchemaError: The schema is older or newer than this library, or was changed by somebody else.
        StoreUnavailableError: The file was locked for too long.
    """
    with _opened(location) as session:
        if session.do(READ, _version) is None:
            session.do(WRITE, lambda connection: _migrate(connection, location))
        session.do(READ, lambda connection: _check_schema(connection, location))
        _check_writable(session)


def migrate(location: Location) -> None:
    """Bring the schema to this version; several may do so at once.

    Raises:
        ConfigurationError: The file cannot be created, read or written there.
        SchemaError: The schema is newer than this library, or its version is not recorded.
        StoreUnavailableError: The file was locked for too long.
    """
    with _opened(location) as session:
        session.do(WRITE, lambda connection: _migrate(connection, location))


def pending_script(location: Location) -> str:
    """Return as plain SQL what `migrate` would do; nothing is created or written.

    Raises:
        ConfigurationError: The file cannot be read.
        SchemaError: The schema is newer than this library, or its version is not recorded.
    """
    if not location.path.exists():
        return migrations.script(DIALECT)
    with _opened(location, create=False) as session:
        return migrations.script(
            DIALECT, after=session.do(READ, lambda connection: _sound_version(connection, location))
        )


class _Session:
    """A connection of its own for a few transactions."""

    def __init__(self, location: Location, *, create: bool, gate: Gate) -> None:
        self._location = location
        self._gate = gate
        self.connection = patiently(lambda: connect(location, create=create), location, gate=gate)

    def do(self, begin: str, work: Work[T]) -> T:
        """Run a transaction."""
        location, gate = self._location, self._gate
        return patiently(lambda: transact(self.connection, begin, work, location=location), location, gate=gate)


@contextlib.contextmanager
def _opened(location: Location, *, create: bool = True) -> Iterator[_Session]:
    check_library()
    check_place(location.path)
    gate = Gate()
    with gate:
        try:
            session = _Session(location, create=create, gate=gate)
            with contextlib.closing(session.connection):
                yield session
        except sqlite3.Error as error:
            raise failures.opening_error(error, location.path) from error


def _version(connection: sqlite3.Connection) -> int | None:
    """Return the schema's version; None where no table of ours exists, 0 where none was recorded."""
    tables = _tables(connection)
    if _RECORD not in tables:
        return 0 if tables else None
    (version,) = connection.execute(f"SELECT max(version) FROM {_RECORD}").fetchone()
    return version or 0


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute(_TABLES)}


def _sound_version(connection: sqlite3.Connection, location: Location) -> int:
    """Return the version from which a migration can go on, 0 for none."""
    version = _version(connection) or 0
    check_not_newer(version)
    ours = _tables(connection) & (set(schema.metadata.tables) - {_RECORD})
    check_recorded(version, ours, record=_RECORD, place=repr(str(location.path)), other="another file")
    return version


def _migrate(connection: sqlite3.Connection, location: Location) -> None:
    """Apply what is missing; the transaction's lock keeps everybody else from doing so at the same time."""
    for step in migrations.steps(DIALECT, after=_sound_version(connection, location)):
        for statement in (migrations.RECORD_TABLE, *step.statements, step.record):
            connection.execute(statement)


def _check_schema(connection: sqlite3.Connection, location: Location) -> None:
    place = repr(str(location.path))
    check_version(_sound_version(connection, location), place=place, url=location.url)
    check_tables(list(_faults(connection)), place=place, remedy="use another file")


def _faults(connection: sqlite3.Connection) -> Iterator[str]:
    for table in schema.metadata.sorted_tables:
        expected = {column.name: column.type.compile(_SQLITE) for column in table.columns}
        found = dict(connection.execute(_COLUMNS, (table.name,)).fetchall())
        wrong = sorted(name for name in expected if found.get(name, "").upper() != expected[name])
        if wrong:
            yield f"{table.name} lacks {', '.join(wrong)}, or holds something else there"
        indexes = {name for (name,) in connection.execute(_INDEXES, (table.name,))}
        missing = sorted(str(index.name) for index in table.indexes if index.name not in indexes)
        if missing:
            yield f"{table.name} lacks the index {', '.join(missing)}"


class _NotKeptError(Exception):
    """Rolls a trial write back."""


def _check_writable(session: _Session) -> None:
    def try_to_write(connection: sqlite3.Connection) -> None:
        written = connection.execute("UPDATE oncetask_meta SET clock_at = clock_at").rowcount
        if written != 1:
            raise SchemaError(f"oncetask_meta holds {written} rows instead of one. Restore it, or use another file.")
        raise _NotKeptError

    with contextlib.suppress(_NotKeptError):
        session.do(WRITE, try_to_write)
