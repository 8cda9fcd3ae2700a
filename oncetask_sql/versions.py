"""Schemas that a store refuses: missing, older or newer than this library, or changed by somebody else."""

from collections.abc import Collection

from oncetask_core.errors import SchemaError
from oncetask_sql import migrations


def check_version(version: int | None, *, place: str, url: str) -> None:
    """Refuse a schema that is not of this library's version.

    Args:
        version: What the database has recorded; 0 where nothing is, None where there are no tables of ours.
        place: What messages call the database.
        url: What the migrating command is given.

    Raises:
        SchemaError: The schema is missing, older or newer than this library.
    """
    remedy = f"Run python -m oncetask_sql migrate {url}"
    if version is None:
        raise SchemaError(f"the database of {place} has no tables of oncetask. {remedy}")
    check_not_newer(version)
    if version < migrations.LATEST:
        raise SchemaError(
            f"the schema of {place} has version {version}, and this library needs version {migrations.LATEST}. {remedy}"
        )


def check_not_newer(version: int) -> None:
    """Refuse a schema that a later version of this library has made.

    Raises:
        SchemaError: It is newer than this library.
    """
    if version > migrations.LATEST:
        raise SchemaError(
            f"the schema of the database has version {version}, and this library knows versions up to "
            f"{migrations.LATEST}. Upgrade the library (pip install --upgrade oncetask)."
        )


def check_recorded(version: int | None, tables: Collection[str], *, record: str, place: str, other: str) -> None:
    """Refuse tables of ours without a record of their version, where a migration is whole or leaves nothing.

    Args:
        version: What the database has recorded; 0 or None where nothing is.
        tables: Our tables that exist, besides the one with the record.
        record: The name of that one.
        place: What messages call the database.
        other: What can be used in place of it.

    Raises:
        SchemaError: There are such tables: no migration can go on from a version that nobody knows.
    """
    if tables and not version:
        raise SchemaError(
            f"{place} has {', '.join(sorted(tables))}, but no record of their version: {record} is missing or empty. "
            f"Restore {record}, or all of them, from a backup, or use {other}."
        )


def check_tables(faults: Collection[str], *, place: str, remedy: str) -> None:
    """Refuse tables that somebody else has changed.

    Args:
        faults: What is wrong with them.
        place: What messages call the database.
        remedy: What can be done, besides restoring them.

    Raises:
        SchemaError: There are faults.
    """
    if faults:
        raise SchemaError(
            f"the tables of {place} are not as version {migrations.LATEST} made them: {'; '.join(faults)}. "
            f"Restore them, or {remedy}."
        )
