"""Control records: small versioned values by name."""

from typing import Final

from oncetask_core.store import ControlRecord
from oncetask_sql.sqlite.transaction import Transaction

_READ: Final = """SELECT name, value, revision FROM oncetask_control
    WHERE env = ? AND substr(name, 1, length(?)) = ? AND value IS NOT NULL"""
_ONE: Final = "SELECT revision, value IS NOT NULL FROM oncetask_control WHERE env = ? AND name = ?"
_WRITE: Final = """INSERT INTO oncetask_control (env, name, value, revision) VALUES (?, ?, ?, ?)
    ON CONFLICT (env, name) DO UPDATE SET value = excluded.value, revision = excluded.revision"""


def read_control(tx: Transaction, prefix: str) -> dict[str, ControlRecord]:
    """Return the records whose names begin with `prefix`, by name."""
    rows = tx.all(_READ, (tx.env, prefix, prefix))
    return {name: ControlRecord(name=name, value=value, revision=revision) for name, value, revision in rows}


def write_control(tx: Transaction, name: str, value: str | None, *, if_revision: int | None) -> bool:
    """Write or remove a record; return whether it was done."""
    rows = tx.all(_ONE, (tx.env, name))
    revision, exists = rows[0] if rows else (0, False)
    if if_revision not in (None, revision if exists else 0):
        return False
    if value is not None or exists:
        tx.all(_WRITE, (tx.env, name, value, revision + 1))
    return True
