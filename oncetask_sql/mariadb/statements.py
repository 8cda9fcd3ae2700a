"""Statements with everything in them: the names of the tables, the store's time, the values."""

from typing import Any

from oncetask_sql.mariadb.literals import Writing, filled, literal
from oncetask_sql.mariadb.session import Statement
from oncetask_sql.wording import Wording

SERVER_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
"""Depends on no time zone, and is one time for all of a statement."""
NOW = "SELECT :now"


def said(wording: Wording, sql: str, *, written: Writing = literal, **values: Any) -> Statement:
    """Return a statement, written with plain table names, `:now` and `%(name)s`, as it is sent.

    Args:
        wording: How statements are worded here.
        sql: The statement.
        written: How values stand in it.
        **values: The values that it may name.

    Raises:
        ValueError: A text holds lone surrogates.
        TypeError: A value is of a type that no column has.
    """
    return filled(wording.render(sql), {**wording.parameters(), **values}, written=written)
