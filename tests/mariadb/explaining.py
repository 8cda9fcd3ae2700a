"""What the server would do with the statements of a store: recorded as they are sent, explained as they are planned."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from oncetask_sql.codec import Row
from oncetask_sql.mariadb.session import Session, Statement
from tests.mariadb.world import connected

_PLANNED = re.compile(r"\s*(SELECT|UPDATE|DELETE)\b.*\boncetask_", re.DOTALL)
"""What an insert does is no plan: it enters rows into all indexes."""
_WALKS = ("ALL", "index")
_ENV_BYTES = "514"
"""How long the part of a key is that names the environment: whoever knows no more reads all of it."""
_READS = "SHOW SESSION STATUS LIKE 'Handler_read%'"


class Plan(NamedTuple):
    """The plan of one statement.

    Attributes:
        statement: What was planned.
        walks: The tables that are read from end to end, by the names that the statement gives them.
        indexes: The indexes that are read, without their common beginning.
    """

    statement: str
    walks: frozenset[str]
    indexes: frozenset[str]


@contextlib.contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Yield the list of what sessions send meanwhile."""
    statements: list[Statement] = []
    send = Session.batch

    async def batch(self: Session, batched: Sequence[Statement]) -> list[Sequence[Row]]:
        statements.extend(batched)
        return await send(self, batched)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "batch", batch)
        yield statements


def explained(url: str, statements: Sequence[Statement]) -> list[Plan]:
    """Return the plan of each statement that has one."""
    plans = []
    with connected(url) as connection, connection.cursor() as cursor:
        for statement in filter(_PLANNED.match, statements):
            cursor.execute(f"EXPLAIN {statement}")
            rows = [row for row in cursor.fetchall() if row[2] is not None and not _is_made_here(row)]
            walks = frozenset(row[2] for row in rows if row[3] in _WALKS or row[6] == _ENV_BYTES)
            keys = frozenset(key.removeprefix("oncetask_task_") for *_, key, _, _, _, _ in rows if key is not None)
            plans.append(Plan(" ".join(statement.split()), walks, keys))
    return plans


def _is_made_here(row: Row) -> bool:
    """Return whether the statement itself makes the rows: a subquery, or a list."""
    return str(row[2]).startswith("<") or "Table function" in str(row[-1])


def rows_read(url: str, statements: Sequence[Statement]) -> int:
    """Return how many rows of indexes and tables statements look at; what they write is rolled back."""
    with connected(url, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
        for statement in filter(_PLANNED.match, statements):
            cursor.execute(statement)
            cursor.fetchall()
        cursor.execute(_READS)
        read = sum(int(number) for _, number in cursor.fetchall())
        connection.rollback()
    return read
