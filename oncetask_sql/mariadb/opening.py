"""Checking a database before it is used, and bringing its schema to this version."""

import re
from collections.abc import Iterator
from typing import Final

from oncetask_core.errors import ConfigurationError, StoreUnavailableError
from oncetask_sql import migrations, schema
from oncetask_sql.mariadb.literals import filled
from oncetask_sql.mariadb.location import Location
from oncetask_sql.mariadb.session import Session
from oncetask_sql.versions import check_not_newer, check_tables, check_version

DIALECT: Final = "mariadb"
LOCK_SECONDS: Final = 60
"""How long a migration waits for another one."""
_EXISTS: Final = """SELECT COUNT(*) FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %(name)s"""
_COLUMNS: Final = """SELECT COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %(name)s"""
_INDEXES: Final = """SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %(name)s"""
_KEPT: Final = """SELECT ENGINE, TABLE_COLLATION FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %(name)s"""
_PLAIN: Final = """SELECT COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %(name)s AND GENERATION_EXPRESSION IS NULL"""
_ID: Final = "oncetask_task_id"
"""Here the primary key, which has no name: a lock on a row by any other key locks the gap before it, too."""
_COLLATION: Final = "utf8mb4_nopad_bin"
"""Ids that differ in case, accents or blanks at the end are different."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_LOWEST_VERSION: Final = (10, 6)
_GENERATED: Final = frozenset(
    {"seat_at", "ready_at", "low_at", "suspect_at", "generator_at", "live_at", "waiting_key", "member_key"}
)
"""What stands in for the conditions of partial indexes."""
_RECORD_TABLE: Final = """CREATE TABLE IF NOT EXISTS oncetask_migration (
    version INTEGER NOT NULL PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB"""


async def check(session: Session, location: Location) -> None:
    """Refuse a database that the store cannot work on.

    Raises:
        ConfigurationError: It is too old, or another product.
        SchemaError: The schema is missing, older or newer than this library, or was changed by somebody else.
    """
    await _check_server(session, location)
    address = location.address
    check_version(await _version(session, location), place=address, url=address)
    check_tables(await _faults(session, location), place=address, remedy="use another database or table_prefix")


async def migrate(session: Session, location: Location) -> None:
    """Bring the schema to this version; several may do so at once, one after the other.

    Statements that define tables take effect one by one: a run that was cut off is simply repeated.

    Raises:
        ConfigurationError: The server is too old, or another product.
        SchemaError: The schema is newer than this library.
        StoreUnavailableError: Another migration has been running for a minute.
    """
    await _check_server(session, location)
    lock = {"name": f"oncetask {location.names.lock_space}", "seconds": LOCK_SECONDS}
    ((got,),) = await session.rows(
        filled("SELECT GET_LOCK(CONCAT(%(name)s, ' ', CRC32(DATABASE())), %(seconds)s)", lock)
    )
    if not got:
        raise StoreUnavailableError(
            f"another migration of {location.address} has been running for {LOCK_SECONDS} seconds. Try again later."
        )
    try:
        await session.rows("SET SESSION max_statement_time = 0")
        version = await version_at_most_ours(session, location)
        for sql in statements(location, after=version):
            await session.rows(sql)
    finally:
        await session.rows(f"SET SESSION max_statement_time = {location.statement_timeout}")
        await session.rows(filled("SELECT RELEASE_LOCK(CONCAT(%(name)s, ' ', CRC32(DATABASE())))", lock))


def statements(location: Location, *, after: int) -> Iterator[str]:
    """Yield the statements that bring a schema of version `after` to this version."""
    for step in migrations.steps(DIALECT, after=after):
        for sql in (_RECORD_TABLE, *step.statements, step.record):
            yield location.names.render(sql)


def script(location: Location, *, after: int) -> str:
    """Return the same as one SQL script, to be read or to be run by hand."""
    return "".join(f"{sql};\n\n" for sql in statements(location, after=after))


async def version_at_most_ours(session: Session, location: Location) -> int:
    """Return the version of the schema, 0 for none.

    Raises:
        SchemaError: It is newer than this library.
    """
    version = await _version(session, location) or 0
    check_not_newer(version)
    return version


async def _check_server(session: Session, location: Location) -> None:
    ((shown,),) = await session.rows("SELECT VERSION()")
    found = _VERSION.match(shown)
    if "MariaDB" not in shown or found is None or (int(found[1]), int(found[2])) < _LOWEST_VERSION:
        raise ConfigurationError(
            value=shown,
            rule="oncetask needs MariaDB 10.6 or newer",
            remedy=f"Upgrade the server {location.address}; MySQL is another product by now, and was not tested.",
        )


async def _version(session: Session, location: Location) -> int | None:
    table = location.names.relation("migration")
    if not await _exists(session, table):
        return 0 if await _exists(session, location.names.relation("task")) else None
    ((version,),) = await session.rows(f"SELECT MAX(version) FROM {table}")
    return version or 0


async def _exists(session: Session, table: str) -> bool:
    ((count,),) = await session.rows(filled(_EXISTS, {"name": table}))
    return bool(count)


async def _faults(session: Session, location: Location) -> list[str]:
    faults: list[str] = []
    for table, generated in ((schema.tasks, _GENERATED), (schema.controls, frozenset())):
        name = {"name": location.names.render(table.name)}
        columns, plain, indexes, kept = await session.batch(
            [filled(sql, name) for sql in (_COLUMNS, _PLAIN, _INDEXES, _KEPT)]
        )
        found = {column for (column,) in columns} - (generated & {column for (column,) in plain})
        missing = sorted(({column.name for column in table.columns} | generated) - found)
        wanted = {location.names.render(str(index.name)) for index in table.indexes if index.name != _ID}
        missing += sorted(wanted - {index for (index,) in indexes})
        if missing:
            faults.append(f"{table.name} lacks {', '.join(missing)}")
        ((engine, collation),) = kept or ((None, None),)
        if engine not in ("InnoDB", None):
            faults.append(f"{table.name} is kept by {engine} in place of InnoDB")
        if collation not in (_COLLATION, None):
            faults.append(f"{table.name} has the collation {collation} in place of {_COLLATION}")
    return faults
