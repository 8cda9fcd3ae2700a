"""Reading tasks: by id, page by page, and counted."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, select
from sqlalchemy.dialects import mysql

from oncetask_core.query import Page, TaskFilter, TaskQuery, check_query
from oncetask_core.store import Found
from oncetask_sql.codec import SELECTED, Row, decode_all, reasons
from oncetask_sql.filters import condition, needs_live
from oncetask_sql.mariadb.literals import filled
from oncetask_sql.mariadb.session import Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.paging import page_of, rows_behind
from oncetask_sql.schema import tasks as table
from oncetask_sql.wording import Wording

_DIALECT: Final = mysql.dialect(paramstyle="pyformat")
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
    meant = _condition(query.where, env=wording.env, moment=await now(session, wording))

    async def read(position: int | None) -> Sequence[Row]:
        behind = _hinted(rows_behind(query, meant, position=position), _index(query.where))
        return await session.rows(_compiled(wording, behind))

    return await page_of(query, read)


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
