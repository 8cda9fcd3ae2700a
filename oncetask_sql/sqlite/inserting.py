"""Inserting tasks: one statement for up to 128 of them, ids that exist are left alone."""

from collections.abc import Sequence
from functools import lru_cache

from oncetask_core.errors import StoreError
from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.codec import BORN, encode_new
from oncetask_sql.sqlite.failures import ROW_ERRORS
from oncetask_sql.sqlite.given import chunks, padded, parameters, table
from oncetask_sql.sqlite.transaction import Transaction

_COLUMNS = ", ".join(BORN)


def insert(tx: Transaction, tasks: Sequence[NewTask]) -> list[Inserted]:
    """Add the tasks whose ids are unknown, unseated; return an answer for each, in order.

    Raises:
        StoreError: A value cannot be stored; nothing of the call may be kept then.
    """
    created: set[str] = set()
    for chunk in chunks(tasks):
        created.update(_insert_some(tx, chunk))
    existing = _existing(tx, [new.id for new in tasks], created)
    answers: list[Inserted] = []
    for new in tasks:
        if new.id in created and new.id not in existing:
            existing[new.id] = (new.kind, new.created_by)
            tx.touch(new.kind, None if new.recurrence is not None else new.resource_key)
            answers.append(Inserted(id=new.id, created=True, kind=new.kind, created_by=new.created_by))
        else:
            kind, created_by = existing[new.id]
            answers.append(Inserted(id=new.id, created=False, kind=kind, created_by=created_by))
    return answers


def _insert_some(tx: Transaction, tasks: Sequence[NewTask]) -> list[str]:
    """Insert up to 128 tasks, and return the ids of those that are new."""
    try:
        rows = [encode_new(new, env=tx.env, now=tx.now) for new in tasks]
        return [task_id for (task_id,) in tx.all(_insert(padded(len(rows))), parameters(rows))]
    except ROW_ERRORS as error:
        ids = ", ".join(repr(new.id) for new in tasks[:3])
        raise StoreError(f"one of the tasks {ids}, ... cannot be stored, so none was added: {error}") from error


def _existing(tx: Transaction, ids: Sequence[str], created: set[str]) -> dict[str, tuple[str, str]]:
    """Return kind and creator of the tasks that were there before, by id."""
    known: dict[str, tuple[str, str]] = {}
    for chunk in chunks(dict.fromkeys(task_id for task_id in ids if task_id not in created)):
        rows = tx.all(_known(padded(len(chunk))), [tx.env, *parameters([(task_id,) for task_id in chunk])])
        known.update((task_id, (kind, created_by)) for task_id, kind, created_by in rows)
    return known


@lru_cache(maxsize=32)
def _insert(count: int) -> str:
    return f"""{table("given", BORN, count)}
        INSERT INTO oncetask_task ({_COLUMNS}) SELECT {_COLUMNS} FROM given WHERE id IS NOT NULL
        ON CONFLICT (env, id) DO NOTHING RETURNING id"""


@lru_cache(maxsize=32)
def _known(count: int) -> str:
    return f"""SELECT id, kind, created_by FROM oncetask_task INDEXED BY oncetask_task_id
        WHERE env = ? AND id IN ({", ".join("?" * count)})"""
