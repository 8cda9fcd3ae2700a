"""Checking a database before it is used, and bringing its schema to this version."""

from collections.abc import Iterator
from typing import Final

from oncetask_core.errors import ConfigurationError
from oncetask_sql import migrations, schema
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Session
from oncetask_sql.versions import check_not_newer, check_recorded, check_tables, check_version

DIALECT: Final = "postgresql"
_EXISTS: Final = "SELECT to_regclass(%(name)s) IS NOT NULL"
_ENCODING: Final = "SELECT current_setting('server_encoding'), current_setting('server_version_num')::int"
_COLUMNS: Final = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%(name)s)
    AND attnum > 0 AND NOT attisdropped"""
_INDEXES: Final = """SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(%(name)s) AND i.indisvalid"""
_LOWEST_VERSION: Final = 130_000
_OTHER: Final = "another schema or table_prefix"
_RECORD_TABLE: Final = """CREATE TABLE IF NOT EXISTS oncetask_migration (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ DEFAULT now() NOT NULL
)"""


async def check(session: Session, location: Location) -> None:
    """Refuse a database that the store cannot work on.

    Raises:
        ConfigurationError: It is too old, or its encoding is not UTF-8.
        SchemaError: The schema is missing, older or newer than this library, or was changed by somebody else.
    """
    await _check_server(session, location)
    address = location.address
    version = await _version(session, location)
    await _check_recorded(session, location, version)
    check_version(version, place=address, url=address)
    check_tables(await _faults(session, location), place=address, remedy=f"use {_OTHER}")


async def migrate(session: Session, location: Location) -> None:
    """Bring the schema to this version; several may do so at once, one after the other.

    Raises:
        ConfigurationError: The server is too old, or its encoding is not UTF-8.
        SchemaError: The schema is newer than this library, or its version is not recorded.
    """
    await _check_server(session, location)
    space = {"space": location.names.lock_space}
    await session.begin([("SET LOCAL lock_timeout = 0", {}), ("SELECT pg_advisory_xact_lock(%(space)s)", space)])
    try:
        version = await sound_version(session, location)
        await session.batch([(sql.replace("%", "%%"), {}) for sql in statements(location, after=version)])
    except BaseException:
        await session.abandon()
        raise
    await session.batch([("COMMIT", {})])


def statements(location: Location, *, after: int) -> Iterator[str]:
    """Yield the statements that bring a schema of version `after` to this version."""
    names = location.names
    if names.schema is not None and after == 0:
        yield f"CREATE SCHEMA IF NOT EXISTS {names.schema}"
    for step in migrations.steps(DIALECT, after=after):
        for sql in (_RECORD_TABLE, *step.statements, step.record):
            yield names.render(sql)


def script(location: Location, *, after: int) -> str:
    """Return the same as one SQL script, to be read or to be run by hand."""
    pending = list(statements(location, after=after))
    return "" if not pending else "BEGIN;\n\n" + "".join(f"{sql};\n\n" for sql in pending) + "COMMIT;\n"


async def sound_version(session: Session, location: Location) -> int:
    """Return the version from which a migration can go on, 0 for none.

    Raises:
        SchemaError: The schema is newer than this library, or its version is not recorded.
    """
    version = await _version(session, location) or 0
    check_not_newer(version)
    await _check_recorded(session, location, version)
    return version


async def _check_server(session: Session, location: Location) -> None:
    ((encoding, number),) = await session.rows(_ENCODING, {})
    if number < _LOWEST_VERSION:
        raise ConfigurationError(
            value=number, rule="oncetask needs PostgreSQL 13 or newer", remedy=f"Upgrade the server {location.address}."
        )
    if encoding != "UTF8":
        raise ConfigurationError(
            value=encoding,
            rule=f"the database of {location.address} has the encoding UTF8",
            remedy="Create one with ENCODING 'UTF8' TEMPLATE template0.",
        )


async def _version(session: Session, location: Location) -> int | None:
    table = location.names.relation("migration")
    if not await _exists(session, table):
        return 0 if await _exists(session, location.names.relation("task")) else None
    ((version,),) = await session.rows(f"SELECT max(version) FROM {table}", {})
    return version or 0


async def _check_recorded(session: Session, location: Location, version: int | None) -> None:
    if not version:
        record, *names = [location.names.relation(name) for name in ("migration", "task", "control", "later")]
        tables = [name for name in names if await _exists(session, name)]
        check_recorded(version, tables, record=record, place=location.address, other=_OTHER)


async def _exists(session: Session, table: str) -> bool:
    ((exists,),) = await session.rows(_EXISTS, {"name": table})
    return bool(exists)


async def _faults(session: Session, location: Location) -> list[str]:
    faults: list[str] = []
    for table in (schema.tasks, schema.controls):
        name = {"name": location.names.render(table.name)}
        columns, indexes = await session.batch([(_COLUMNS, name), (_INDEXES, name)])
        missing = sorted({column.name for column in table.columns} - {found for (found,) in columns})
        missing += sorted({location.names.render(str(index.name)) for index in table.indexes} - {i for (i,) in indexes})
        if missing:
            faults.append(f"{table.name} lacks {', '.join(missing)}")
    return faults
