"""What the server would do with the statements of a store: recorded as they are sent, explained as they are planned."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql

from oncetask_sql.codec import Row
from oncetask_sql.postgresql.connecting import GENERIC, PLAN_CACHE_MODES
from oncetask_sql.postgresql.session import Session, Statement
from tests.postgresql.world import connected

_PLACE = re.compile(r"%\((\w+)\)s|%(%)")
_TYPES = {int: "bigint", bool: "bool"}
Sent = tuple[str, Mapping[str, Any], str]
"""A statement, its values, and what the connection that sent it is for."""
_WORK = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


class Plan(NamedTuple):
    """The plan of one statement.

    Attributes:
        statement: What was planned.
        nodes: The nodes, as the server describes them.
    """

    statement: str
    nodes: Sequence[Mapping[str, Any]]

    @property
    def walks(self) -> set[str]:
        """The tables that are read from end to end."""
        return {str(node["Relation Name"]) for node in self.nodes if node["Node Type"] == "Seq Scan"}

    @property
    def indexes(self) -> set[str]:
        """The indexes that are read, without their common beginning."""
        names = {str(node.get("Index Name", "")) for node in self.nodes}
        return {name.removeprefix("oncetask_task_") for name in names if name}

    @property
    def buffers(self) -> int:
        """How many pages were looked at, where the statement was executed."""
        top = self.nodes[0]
        return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


@contextlib.contextmanager
def recorded() -> Iterator[list[Sent]]:
    """Yield the list of what sessions send meanwhile, each statement once and without those of transactions."""
    sent: dict[str, Sent] = {}
    statements: list[Sent] = []
    send = Session.batch

    async def batch(self: Session, batched: Sequence[Statement]) -> list[list[Row]]:
        purpose = self.connection.info.get_parameters()["application_name"].split()[-1]
        for text, values in batched:
            if text.lstrip().startswith(_WORK):
                sent.setdefault(text, (text, values, purpose))
        return await send(self, batched)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "batch", batch)
        yield statements
    statements += sent.values()


def explained(statements: Sequence[Sent], *, executes: bool = False) -> list[Plan]:
    """Return the plan of each statement: for reads that of their values, for all others the one that all values share.

    Args:
        statements: What a store sent.
        executes: Whether to execute them, one after the other, and roll that back.
    """
    with connected(autocommit=False) as connection:
        plans = [_plan(connection, statement, executes=executes) for statement in statements]
        connection.rollback()
    return plans


def _plan(connection: "psycopg.Connection[Any]", sent: Sent, *, executes: bool) -> Plan:
    text, values, purpose = sent
    connection.execute(f"SET plan_cache_mode = {PLAN_CACHE_MODES.get(purpose, GENERIC)}".encode())
    names: dict[str, int] = {}
    numbered = _PLACE.sub(lambda found: "%" if found[2] else f"${names.setdefault(found[1], len(names) + 1)}", text)
    types = ", ".join(_TYPES.get(type(values[name]), "unknown") for name in names)
    head = "PREPARE one" + (f" ({types})" if names else "")
    connection.execute(f"{head} AS {numbered}".encode())
    given = sql.SQL(", ").join([sql.Literal(values[name]) for name in names])
    options = sql.SQL("ANALYZE, BUFFERS, FORMAT JSON" if executes else "FORMAT JSON")
    call = sql.SQL("EXECUTE one ({})").format(given) if names else sql.SQL("EXECUTE one")
    row = connection.execute(sql.SQL("EXPLAIN ({}) {}").format(options, call)).fetchone()
    connection.execute("DEALLOCATE one")
    assert row is not None
    return plan_of(text, row[0])


def plan_of(text: str, told: Sequence[Mapping[str, Any]]) -> Plan:
    """Return the plan of a statement from what the server tells of it."""
    return Plan(" ".join(text.split()), list(_nodes(told[0]["Plan"])))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
