"""Reading tasks: by id, page by page, and counted."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.dialects import postgresql

from oncetask_core.query import Page, TaskFilter, TaskOrder, TaskQuery, check_query, cursor_after, read_cursor
from oncetask_core.store import Found
from oncetask_sql.codec import COLUMNS, SELECTED, Row, Task, UnreadableRowError, decode, decode_all, reasons
from oncetask_sql.filters import condition
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.session import Session
from oncetask_sql.schema import tasks as table
from oncetask_sql.wording import Wording

_DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]  # SQLAlchemy's
_SELECTED: Final = [*(table.c[name] for name in COLUMNS), table.c.quarantined]
_SEQUENCE: Final = COLUMNS.index("sequence")
_GET: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id = ANY (%(ids)s::text[])"
_NOW: Final = "SELECT :now"


async def now(session: Session, wording: Wording) -> int:
    """Return the store's time in microseconds."""
    ((micros,),) = await session.rows(wording.render(_NOW), wording.parameters())
    return int(micros)


async def get(session: Session, wording: Wording, ids: Collection[str]) -> Found:
    """Return the tasks with these ids."""
    rows = await session.rows(wording.render(_GET), {**wording.parameters(), "ids": texts(dict.fromkeys(ids))})
    tasks, faults = decode_all(rows)
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
    statement = select(*_SELECTED).where(condition(query.where, env=wording.env, now=moment))
    if position is not None:
        statement = statement.where(table.c.sequence < position if newest else table.c.sequence > position)
    ordered = statement.order_by(table.c.sequence.desc() if newest else table.c.sequence)
    return await session.rows(*_compiled(wording, ordered.limit(query.limit + 1)))


async def count(session: Session, wording: Wording, where: TaskFilter) -> int:
    """Return how many tasks match; rows that were set aside do not count."""
    meant = condition(where, env=wording.env, now=await now(session, wording))
    statement = select(func.count()).select_from(table).where(meant, table.c.quarantined.is_(None))
    ((number,),) = await session.rows(*_compiled(wording, statement))
    return int(number)


def _compiled(wording: Wording, statement: Select[Any]) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return wording.names.render(str(compiled)), compiled.params
