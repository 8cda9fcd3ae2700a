"""Reading tasks: by id, page by page, and counted."""

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.dialects import sqlite

from oncetask_core.query import Page, TaskFilter, TaskQuery, check_query, cursor_after, read_cursor
from oncetask_core.store import Found
from oncetask_sql.codec import COLUMNS, SELECTED, Row, Task, UnreadableRowError, decode, decode_all, reasons
from oncetask_sql.filters import condition, needs_live
from oncetask_sql.paging import rows_behind
from oncetask_sql.schema import tasks as table
from oncetask_sql.sqlite.given import chunks, padded, parameters
from oncetask_sql.sqlite.transaction import Transaction
from oncetask_sql.times import to_micros

_DIALECT: Final = sqlite.dialect(paramstyle="qmark")
_OLD_ENOUGH: Final = """SELECT EXISTS (SELECT 1 FROM oncetask_task INDEXED BY oncetask_task_done
    WHERE env = ? AND done_at < ?)"""
_SEQUENCE: Final = COLUMNS.index("sequence")


def get(tx: Transaction, ids: Collection[str]) -> Found:
    """Return the tasks with these ids."""
    found: dict[str, Task] = {}
    unreadable: dict[str, str] = {}
    for chunk in chunks(dict.fromkeys(ids)):
        rows = tx.all(_by_id(padded(len(chunk))), [tx.env, *parameters([(task_id,) for task_id in chunk])])
        tasks, faults = decode_all(rows)
        found.update((task.id, task) for task in tasks)
        unreadable |= reasons(faults)
    return Found(tasks=found, unreadable=unreadable)


def find(tx: Transaction, query: TaskQuery) -> Page:
    """Return one page of the tasks that match; rows that cannot be read stand beside it and take no place."""
    check_query(query)
    tx.look()
    if not _may_match(tx, query.where):
        return Page(tasks=())
    position = None if query.cursor is None else read_cursor(query.cursor, query.order)
    tasks: list[Task] = []
    unreadable: dict[str, str] = {}
    for row in _rows(tx, query, position=position):
        if len(tasks) == query.limit:
            return Page(tasks=tasks, cursor=cursor_after(tasks[-1], query.order), unreadable=unreadable)
        try:
            tasks.append(decode(row))
        except UnreadableRowError as fault:
            unreadable[fault.task_id] = fault.reason
    return Page(tasks=tasks, unreadable=unreadable)


def count(tx: Transaction, where: TaskFilter) -> int:
    """Return how many tasks match; rows that were set aside do not count."""
    tx.look()
    (number,) = tx.all(*count_statement(where, env=tx.env, now=tx.micros))[0]
    return int(number)


def count_statement(where: TaskFilter, *, env: str, now: int) -> tuple[str, Sequence[Any]]:
    """Return the statement that counts, and its parameters."""
    meant = condition(where, env=env, now=now)
    statement = select(func.count()).select_from(table).where(meant, table.c.quarantined.is_(None))
    index = index_of(where)
    return _compiled(statement, access="" if index is None else _by(index))


def page_statement(query: TaskQuery, *, env: str, now: int, position: int | None) -> tuple[str, Sequence[Any]]:
    """Return the statement for the rows of a page and one more, and its parameters.

    Args:
        query: The page.
        env: The environment.
        now: The store's time in microseconds.
        position: The sequence behind which the page begins, if not at the beginning.
    """
    index = index_of(query.where)
    behind = rows_behind(query, condition(query.where, env=env, now=now), position=position)
    return _compiled(behind, access="NOT INDEXED" if index is None else _by(index))


def index_of(where: TaskFilter) -> str | None:
    """Return the index that leaves the fewest rows to look at; None for all rows in order of creation."""
    is_live = needs_live(where)
    candidates = {
        "id": where.ids is not None,
        "leased": where.run_out is True,
        "generator": is_live and where.generators is True,
        "suspect": is_live and where.suspects is True,
        "key": where.resource_key is not None,
        "live": is_live,
    }
    return next((name for name, fits in candidates.items() if fits), None)


def _may_match(tx: Transaction, where: TaskFilter) -> bool:
    """Return whether anything ended early enough, which spares a walk through a history that is too young."""
    if where.done_before is None:
        return True
    return bool(tx.all(_OLD_ENOUGH, (tx.env, to_micros(where.done_before)))[0][0])


def _rows(tx: Transaction, query: TaskQuery, *, position: int | None) -> Iterator[Row]:
    """Yield the rows behind a position in order, a page and one more at a time."""
    while True:
        rows = tx.all(*page_statement(query, env=tx.env, now=tx.micros, position=position))
        yield from rows
        if len(rows) <= query.limit:
            return
        position = rows[-1][_SEQUENCE]


@lru_cache(maxsize=16)
def _by_id(count: int) -> str:
    return f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_id
        WHERE env = ? AND id IN ({", ".join("?" * count)})"""


def _by(index: str) -> str:
    return f"INDEXED BY oncetask_task_{index}"


def _compiled(statement: Select[Any], *, access: str) -> tuple[str, Sequence[Any]]:
    """Return SQL and parameters, with the way to the rows named: without statistics SQLite guesses badly.

    Left alone it may walk through the history for what an index holds, or sort an environment to show its first page.
    """
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    names: Sequence[str] = compiled.positiontup or ()
    sql = str(compiled).replace(f"FROM {table.name}", f"FROM {table.name} {access}", 1)
    return sql, [compiled.params[name] for name in names]
