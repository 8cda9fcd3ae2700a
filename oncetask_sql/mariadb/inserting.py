"""Inserting tasks: one statement for all that were asked for meanwhile; ids that exist are left alone.

IGNORE would cut what is too long, so tasks are inserted as if none of them existed; where one does, those that exist
are left out and the others inserted again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from asyncmy.errors import MySQLError

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Inserted
from oncetask_sql.codec import BORN, encode_new
from oncetask_sql.inserted import TaskLockedError, answers_of, distinct
from oncetask_sql.keys import keys_of
from oncetask_sql.mariadb.failures import ROW_ERRORS, is_duplicate, is_locked
from oncetask_sql.mariadb.literals import Writing, literal
from oncetask_sql.mariadb.seating import looking, seat_seen
from oncetask_sql.mariadb.session import Session, Statement
from oncetask_sql.mariadb.statements import said
from oncetask_sql.mariadb.tries import PAUSES, TRIES
from oncetask_sql.wording import Wording

_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CREATED: Final = BORN.index("created_at")
_RELATIVE: Final = (BORN.index("wait_until"), BORN.index("order_at"))
_PATIENCE: Final = "SET STATEMENT innodb_lock_wait_timeout = 0 FOR "
"""Waits for nobody: an id may be kept by a transaction that stays open."""
_INSERT: Final = f"INSERT INTO oncetask_task ({', '.join(BORN)}) VALUES "
KNOWN: Final = "SELECT id, kind, created_by FROM oncetask_task WHERE env = %(env)s AND id IN (%(ids)s)"
_MOST_CHARACTERS: Final = 250_000
"""How much text the rows of a statement have, unless it is a single row: servers bound the length."""


def insertion(wording: Wording, tasks: Sequence[NewTask]) -> list[Statement]:
    """Return the statements that add tasks whose ids are unknown, unseated.

    Raises:
        ValueError: A value cannot be stored.
        OverflowError: A time lies outside the years 1 to 9999.
    """
    return [_PATIENCE + adding(wording, some) for some in portions(wording, tasks)]


class Row(NamedTuple):
    """A task to insert."""

    is_relative: bool
    """Whether its times are relative to the store's."""
    cells: list[object]


def portions(wording: Wording, tasks: Sequence[NewTask]) -> Iterator[list[Row]]:
    """Yield the rows of tasks, together as many as one statement takes.

    Raises:
        ValueError: A value cannot be stored.
        OverflowError: A time lies outside the years 1 to 9999.
    """
    portion: list[Row] = []
    size = 0
    for new in tasks:
        row = Row(isinstance(new.wait_until, StoreNow), encode_new(new, env=wording.env, now=_ZERO))
        length = sum(len(cell) for cell in row.cells if isinstance(cell, str))
        if portion and size + length > _MOST_CHARACTERS:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += length
    if portion:
        yield portion


def adding(wording: Wording, rows: Sequence[Row], *, written: Writing = literal) -> Statement:
    """Return the statement that adds rows."""
    now = said(wording, ":now", written=written)
    return said(wording, _INSERT) + ", ".join([_values(row, now, written) for row in rows])


def _values(row: Row, now: str, written: Writing) -> str:
    cells = [written(value) for value in row.cells]
    cells[_CREATED] = now
    if row.is_relative:
        for place in _RELATIVE:
            cells[place] = f"{now} + {cells[place]}"
    return f"({', '.join(cells)})"


async def insert(session: Session, wording: Wording, tasks: Sequence[NewTask]) -> list[Inserted]:
    """Add the tasks whose ids are unknown; return an answer for each, in order.

    Raises:
        StoreError: A value cannot be stored; nothing was added.
        StoreUnavailableError: An id is being created by a transaction that is still open.
    """
    existing: dict[str, tuple[str, str]] = {}
    created: set[str] = set()
    first = distinct(tasks)
    parts = [first]
    pauses = list(PAUSES)
    for _ in range(TRIES * 2 + len(first) * 2):
        if not parts:
            return answers_of(tasks, created, existing)
        missing = [new for new in parts.pop(0) if new.id not in existing]
        if not missing or await _insert_some(session, wording, missing):
            created |= {new.id for new in missing}
            continue
        found = await known(session, wording, [new.id for new in missing])
        existing |= found
        missing = [new for new in missing if new.id not in found]
        half = len(missing) // 2
        if found or not missing:
            parts.insert(0, missing)
        elif half:
            parts[:0] = [missing[:half], missing[half:]]
        elif pauses:
            await asyncio.sleep(pauses.pop(0))
            parts.insert(0, missing)
        else:
            raise TaskLockedError(
                f"task {missing[0].id!r} is being created, or its key changed, by a transaction that is still open. "
                "Try again when it has ended."
            )
    raise StoreUnavailableError(f"task {first[0].id!r} is created and deleted again and again. Try again.")


async def _insert_some(session: Session, wording: Wording, tasks: Sequence[NewTask]) -> bool:
    """Insert tasks of different ids; return False, with nothing written, where somebody else has one of them."""
    keys = keys_of(tasks)
    try:
        statements = insertion(wording, tasks)
        if not keys:
            await session.transaction(statements)
            return True
        *_, shown, first = await session.begin([*statements, *looking(wording, keys)])
        await seat_seen(session, wording, shown=shown, first=first, clears=True)
    except (MySQLError, *ROW_ERRORS) as error:
        if is_duplicate(error) or is_locked(error):
            return False
        if not isinstance(error, ROW_ERRORS):
            raise
        ids = ", ".join(repr(new.id) for new in tasks[:3])
        raise StoreError(f"one of the tasks {ids}, ... cannot be stored, so none was added: {error}") from error
    return True


async def known(session: Session, wording: Wording, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return kind and creator of tasks that exist, by id."""
    if not ids:
        return {}
    rows = await session.rows(said(wording, KNOWN, ids=ids))
    return {task_id: (kind, created_by) for task_id, kind, created_by in rows}
