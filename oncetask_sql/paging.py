"""Pages of tasks: what reads them, and how the stores on servers fill them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select

from oncetask_core.query import Page, TaskOrder, TaskQuery, cursor_after, read_cursor
from oncetask_sql.codec import COLUMNS, Row, Task, UnreadableRowError, decode
from oncetask_sql.schema import tasks as table

_SELECTED: Final = [*(table.c[name] for name in COLUMNS), table.c.quarantined]
_SEQUENCE: Final = COLUMNS.index("sequence")


async def page_of(query: TaskQuery, read: Callable[[int | None], Awaitable[Sequence[Row]]]) -> Page:
    """Return one page of the tasks that match; rows that cannot be read stand beside it and take no place.

    Args:
        query: A query that was checked.
        read: Returns the rows behind a position in order: a page and one more.
    """
    position = None if query.cursor is None else read_cursor(query.cursor, query.order)
    tasks: list[Task] = []
    unreadable: dict[str, str] = {}
    while True:
        rows = await read(position)
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


def rows_behind(query: TaskQuery, meant: ColumnElement[bool], *, position: int | None) -> Select[Any]:
    """Return what reads the rows of a page and one more.

    Args:
        query: The page.
        meant: What its filter means.
        position: The sequence behind which the page begins, if not at the beginning.
    """
    newest = query.order is TaskOrder.NEWEST
    statement = select(*_SELECTED).where(meant)
    if position is not None:
        statement = statement.where(table.c.sequence < position if newest else table.c.sequence > position)
    ordered = statement.order_by(table.c.sequence.desc() if newest else table.c.sequence)
    return ordered.limit(query.limit + 1)
