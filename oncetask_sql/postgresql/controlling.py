"""Control records: small versioned values by name."""

from typing import Final

from oncetask_core.store import ControlRecord
from oncetask_sql.postgresql.session import Session
from oncetask_sql.wording import Wording

_READ: Final = """SELECT name, value, revision FROM oncetask_control
    WHERE env = %(env)s AND starts_with(name, %(prefix)s) AND value IS NOT NULL"""
_WRITE: Final = """INSERT INTO oncetask_control AS c (env, name, value, revision)
    SELECT %(env)s, %(name)s, %(value)s, 1
    WHERE coalesce(%(expected)s::bigint, 0) = 0 AND %(value)s::text IS NOT NULL OR EXISTS (
        SELECT 1 FROM oncetask_control WHERE env = %(env)s AND name = %(name)s)
    ON CONFLICT (env, name) DO UPDATE SET value = excluded.value, revision = c.revision + 1
    WHERE (%(expected)s::bigint IS NULL AND (c.value IS NOT NULL OR excluded.value IS NOT NULL))
        OR (%(expected)s::bigint = 0 AND c.value IS NULL AND excluded.value IS NOT NULL)
        OR (%(expected)s::bigint > 0 AND c.value IS NOT NULL AND c.revision = %(expected)s::bigint)
    RETURNING revision"""


async def read_control(session: Session, wording: Wording, prefix: str) -> dict[str, ControlRecord]:
    """Return the records whose names begin with `prefix`, by name."""
    rows = await session.rows(wording.render(_READ), {**wording.parameters(), "prefix": prefix})
    return {name: ControlRecord(name=name, value=value, revision=revision) for name, value, revision in rows}


async def write_control(
    session: Session, wording: Wording, *, name: str, value: str | None, if_revision: int | None
) -> bool:
    """Write or remove a record; return whether it was done."""
    values = {**wording.parameters(), "name": name, "value": value, "expected": if_revision}
    (rows,) = await session.transaction([(wording.render(_WRITE), values)])
    if rows:
        return True
    return value is None and if_revision in (None, 0) and name not in await read_control(session, wording, name)
