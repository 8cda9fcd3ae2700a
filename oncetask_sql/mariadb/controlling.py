"""Control records: small versioned values by name."""

from typing import Final

from asyncmy.errors import MySQLError

from oncetask_core.store import ControlRecord
from oncetask_sql.mariadb.failures import is_duplicate, is_locked
from oncetask_sql.mariadb.session import COMMIT, ROLLBACK, Session
from oncetask_sql.mariadb.statements import said
from oncetask_sql.wording import Wording

_READ: Final = """SELECT name, value, revision FROM oncetask_control
    WHERE env = %(env)s AND LEFT(name, CHAR_LENGTH(%(prefix)s)) = %(prefix)s AND value IS NOT NULL"""
_LOCK: Final = "SELECT value, revision FROM oncetask_control WHERE env = %(env)s AND name = %(name)s FOR UPDATE"
_INSERT: Final = "INSERT INTO oncetask_control (env, name, value, revision) VALUES (%(env)s, %(name)s, %(value)s, 1)"
_UPDATE: Final = """UPDATE oncetask_control SET value = %(value)s, revision = revision + 1
    WHERE env = %(env)s AND name = %(name)s"""
_TRIES: Final = 5


async def read_control(session: Session, wording: Wording, prefix: str) -> dict[str, ControlRecord]:
    """Return the records whose names begin with `prefix`, by name."""
    rows = await session.rows(said(wording, _READ, prefix=prefix))
    return {name: ControlRecord(name=name, value=value, revision=revision) for name, value, revision in rows}


async def write_control(
    session: Session, wording: Wording, *, name: str, value: str | None, if_revision: int | None
) -> bool:
    """Write or remove a record; return whether it was done."""
    for attempt in range(_TRIES):
        try:
            return await _write_once(session, wording, name=name, value=value, if_revision=if_revision)
        except MySQLError as error:  # somebody wrote the first record of this name at the same time
            if attempt == _TRIES - 1 or not (is_duplicate(error) or is_locked(error)):
                raise
    raise AssertionError


async def _write_once(
    session: Session, wording: Wording, *, name: str, value: str | None, if_revision: int | None
) -> bool:
    (rows,) = await session.begin([said(wording, _LOCK, name=name)])
    before, revision = rows[0] if rows else (None, 0)
    current = 0 if before is None else revision
    fits = if_revision in (None, current)
    if not fits or before is value is None:
        await session.batch([ROLLBACK])
        return fits
    sql = _UPDATE if rows else _INSERT
    await session.batch([said(wording, sql, name=name, value=value), COMMIT])
    return True
