"""Reading tasks: by id, page by page, and counted."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, select
from sqlalchemy.dialects import mysql

from oncetask_core.query import Page, TaskFilter, TaskOrder, TaskQuery, check_query, cursor_after, read_cursor
from oncetask_core.store import Found
from oncetask_sql.codec import COLUMNS, SELECTED, Row, Task, UnreadableRowError, decode, decode_all, reasons
from oncetask_sql.filters import condition, needs_live
from oncetask_sql.mariadb.literals import filled
from oncetask_sql.mariadb.session import Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.schema import tasks as table
from oncetask_sql.wording import Wording

_DIALECT: Final = mysql.dialect(paramstyle="pyformat")
_SELECTED: Final = [*(table.c[name] for name in COLUMNS), table.c.quarantined]
_SEQUENCE: Final = COLUMNS.index("sequence")
_GET: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id IN (%(ids)s)"


async def now(session: Session, wording: Wording) -> int:
    """Return the store's time in microseconds."""
    ((micros,),) = await session.rows(said(wording, NOW))
    return int(micros)


async def get(session: Session, wording: Wording, ids: Collection[str]) -> Found:
    """Return the tasks with these ids."""
    tasks, faults = decode_all(await session.rows(said(wording, _GET, ids=list(dict.fromkeys(ids)))))
    return Found(tasks={task.id: task for task in tasks}, unreadable=reasons(faults))


async def find(session: Session, wording: Wording, query: TaskQuery) -> Page:
    """Return one page of the tasks that match; rows that cannot be read stand beside it and take no place."""
    check_query(query)
    moment = await now(session, wording)
    position = None if query.cursor is None else read_cursor(query.cursor, query.order)
    tasks: list[Task] = []
    unreadable: dict[str, str] = {}
    while True:
        rows = await _rows(session, wording, query, moment=moment, position=position)
        for row in rows:
            if len(tasks) == query.limit:
                return Page(tasks=tasks, cursor=cursor_after(tasks[-1], query.order), unreadable=unreadable)
            try:
                tasks.append(decode(row))
            except UnreadableRowError as fault:
                unreadable[fault.task_id] = fault.reason
        if len(rows) <= query.limit:
            return Page(tasks=tasks, unreadable=unreadable)
        position = rows[-1][_SEQUENCE]


async def _rows(
    session: Session, wording: Wording, query: TaskQuery, *, moment: int, position: int | None
) -> list[Row]:
    """Return the rows behind a position in order: a page and one more."""
    newest = query.order is TaskOrder.NEWEST
    statement = select(*_SELECTED).where(_condition(query.where, env=wording.env, moment=moment))
    if position is not None:
        statement = statement.where(table.c.sequence < position if newest else table.c.sequence > position)
    ordered = statement.order_by(table.c.sequence.desc() if newest else table.c.sequence)
    return list(await session.rows(_compiled(wording, _hinted(ordered.limit(query.limit + 1), _index(query.where)))))


async def count(session: Session, wording: Wording, where: TaskFilter) -> int:
    """Return how many tasks match; rows that were set aside do not count."""
    meant = _condition(where, env=wording.env, moment=await now(session, wording))
    statement = select(func.count()).select_from(table).where(meant, table.c.quarantined.is_(None))
    by_kind = "oncetask_task_live" if where.kinds is not None and needs_live(where) else None
    ((number,),) = await session.rows(_compiled(wording, _hinted(statement, _index(where) or by_kind)))
    return int(number)


def _condition(where: TaskFilter, *, env: str, moment: int) -> ColumnElement[bool]:
    """Return what the filter means, in words that name the columns of indexes too."""
    meant = condition(where, env=env, now=moment)
    if not needs_live(where):
        return meant
    columns = ["live_at", *(["generator_at"] if where.generators else []), *(["suspect_at"] if where.suspects else [])]
    return and_(meant, *(literal_column(name).is_not(None) for name in columns))


def _index(where: TaskFilter) -> str | None:
    """Return the index of what is asked again and again; the server guesses wrong while it has no statistics."""
    if where.ids is not None:
        return "PRIMARY"
    if where.run_out:
        return "oncetask_task_leased"
    if where.resource_key is not None:
        return "oncetask_task_key"
    if where.kinds is None or not needs_live(where):
        return None
    return "oncetask_task_generator" if where.generators else "oncetask_task_suspect" if where.suspects else None


def _hinted(statement: Select[Any], index: str | None) -> Select[Any]:
    return statement if index is None else statement.with_hint(table, f"FORCE INDEX ({index})", "mysql")


def _compiled(wording: Wording, statement: Select[Any]) -> Statement:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return filled(wording.names.render(str(compiled)), compiled.params)
