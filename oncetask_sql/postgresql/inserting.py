"""Inserting tasks: one statement for all that were asked for meanwhile; ids that exist are left alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Inserted
from oncetask_sql.codec import BORN, NUMERIC, encode_new
from oncetask_sql.inserted import TaskLockedError, answers_of, distinct
from oncetask_sql.keys import keys_of
from oncetask_sql.postgresql.arrays import columns, numbers, texts
from oncetask_sql.postgresql.failures import LOCKED, ROW_ERRORS
from oncetask_sql.postgresql.seating import seat_keys
from oncetask_sql.postgresql.session import Session, Statement
from oncetask_sql.wording import Wording

_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = tuple(name for name in BORN if name not in ("env", "created_at"))
_PLACES: Final = tuple(BORN.index(name) for name in _COLUMNS)
_RELATIVE: Final = frozenset({"wait_until", "order_at"})
_ARRAYS: Final = ", ".join(f"%({name})s::{'bigint' if name in NUMERIC else 'text'}[]" for name in _COLUMNS)
_VALUES: Final = ", ".join(
    f"given.{name} + CASE given.relative WHEN 1 THEN :now ELSE 0 END" if name in _RELATIVE else f"given.{name}"
    for name in _COLUMNS
)
_INSERT: Final = f"""INSERT INTO oncetask_task (env, created_at, {", ".join(_COLUMNS)})
    SELECT %(env)s, :now, {_VALUES}
    FROM unnest({_ARRAYS}, %(relative)s::bigint[]) WITH ORDINALITY
        AS given ({", ".join(_COLUMNS)}, relative, place)
    ORDER BY given.place ON CONFLICT (env, id) DO NOTHING RETURNING id"""
_KNOWN: Final = "SELECT id, kind, created_by FROM oncetask_task WHERE env = %(env)s AND id = ANY (%(ids)s::text[])"
_TRIES: Final = 5
_TRIES_TOGETHER: Final = 3


def insertion(wording: Wording, tasks: Sequence[NewTask]) -> Statement:
    """Return the statement that adds the tasks whose ids are unknown, unseated; it returns their ids.

    Raises:
        ValueError: A value cannot be stored.
        OverflowError: A time lies outside the years 1 to 9999.
    """
    rows = [encode_new(new, env=wording.env, now=_ZERO) for new in tasks]
    cells = columns(rows)
    values = {
        name: (numbers if name in NUMERIC else texts)(cells[place])  # type: ignore[arg-type]  # the codec's types
        for name, place in zip(_COLUMNS, _PLACES, strict=True)
    }
    relative = numbers(isinstance(new.wait_until, StoreNow) for new in tasks)
    return wording.render(_INSERT), {**wording.parameters(), **values, "relative": relative}


async def insert(session: Session, wording: Wording, tasks: Sequence[NewTask]) -> list[Inserted]:
    """Add the tasks whose ids are unknown; return an answer for each, in order.

    Raises:
        StoreError: A value cannot be stored; nothing was added.
        StoreUnavailableError: An id is being created by a transaction that is still open.
    """
    created: set[str] = set()
    existing: dict[str, tuple[str, str]] = {}
    missing = distinct(tasks)
    for _ in range(_TRIES):
        created |= await _insert_some(session, wording, missing, tries=_TRIES_TOGETHER)
        missing = [new for new in missing if new.id not in created]
        existing |= await known(session, wording, [new.id for new in missing])
        missing = [new for new in missing if new.id not in existing]
        if not missing:
            return answers_of(tasks, created, existing)
    raise StoreUnavailableError(f"task {missing[0].id!r} is created and deleted again and again. Try again.")


async def _insert_some(session: Session, wording: Wording, tasks: Sequence[NewTask], *, tries: int = 1) -> set[str]:
    """Insert tasks of different ids; halve them until what somebody else is creating stands alone.

    All together are tried more often: their keys' stripes may only have been busy for a moment.
    """
    if not tasks:
        return set()
    keys = keys_of(tasks)
    try:
        statements = [insertion(wording, tasks), *seat_keys(wording, keys, clears=True)]
        return {task_id for (task_id,) in (await session.transaction(statements))[0]}
    except ROW_ERRORS as error:
        ids = ", ".join(repr(new.id) for new in tasks[:3])
        raise StoreError(f"one of the tasks {ids}, ... cannot be stored, so none was added: {error}") from error
    except LOCKED as error:
        if tries > 1 and len(tasks) > 1:
            return await _insert_some(session, wording, tasks, tries=tries - 1)
        if len(tasks) == 1:
            raise TaskLockedError(
                f"task {tasks[0].id!r} is being created, or its key changed, by a transaction that is still open. "
                "Try again when it has ended."
            ) from error
    half = len(tasks) // 2
    first = await _insert_some(session, wording, tasks[:half])
    return first | await _insert_some(session, wording, tasks[half:])


async def known(session: Session, wording: Wording, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return kind and creator of tasks that exist, by id."""
    if not ids:
        return {}
    rows = await session.rows(wording.render(_KNOWN), {**wording.parameters(), "ids": texts(ids)})
    return {task_id: (kind, created_by) for task_id, kind, created_by in rows}
