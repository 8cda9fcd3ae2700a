"""Reading tasks: by id, page by page, and counted."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.dialects import postgresql

from oncetask_core.query import Page, TaskFilter, TaskQuery, check_query
from oncetask_core.store import Found
from oncetask_sql.codec import SELECTED, Row, decode_all, reasons
from oncetask_sql.filters import condition
from oncetask_sql.paging import page_of, rows_behind
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.session import Session
from oncetask_sql.schema import tasks as table
from oncetask_sql.wording import Wording

_DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]  # SQLAlchemy's
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
    meant = condition(query.where, env=wording.env, now=await now(session, wording))

    async def read(position: int | None) -> Sequence[Row]:
        return await session.rows(*_compiled(wording, rows_behind(query, meant, position=position)))

    return await page_of(query, read)


async def count(session: Session, wording: Wording, where: TaskFilter) -> int:
    """Return how many tasks match; rows that were set aside do not count."""
    meant = condition(where, env=wording.env, now=await now(session, wording))
    statement = select(func.count()).select_from(table).where(meant, table.c.quarantined.is_(None))
    ((number,),) = await session.rows(*_compiled(wording, statement))
    return int(number)


def _compiled(wording: Wording, statement: Select[Any]) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return wording.names.render(str(compiled)), compiled.params
