"""Sessions and connections of the caller: which kinds there are, and how a statement is run on each.

Nothing here begins, commits or rolls back: the transaction is the caller's.
"""

import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from oncetask_core.errors import ConfigurationError
from oncetask_sql.codec import Row

T = TypeVar("T")
Flow = Generator[tuple[str, Mapping[str, Any]], list[Row], T]
"""Yields statements with parameters such as `%(name)s`, is sent their rows, and returns an answer."""

KINDS: Final = (
    "a SQLAlchemy Session, AsyncSession, Connection or AsyncConnection, a psycopg connection, or a connection of Django"
)


class Dialect(NamedTuple):
    """A kind of database, as sessions know it."""

    title: str
    """Its name in messages."""
    names: frozenset[str]
    """What SQLAlchemy and Django call it."""
    clause: Callable[[str], str]
    """Returns a statement with parameters in SQLAlchemy's style, `:name`, which any driver takes."""
    plain: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Returns values that any driver takes."""


def is_async(session: object) -> bool:
    """Return whether statements on this session are awaited.

    Raises:
        ConfigurationError: It is no session that we know.
    """
    if _is_awaited_alchemy(session):
        return True
    if isinstance(session, Session | Connection) or _is_django(session):
        return False
    module = type(session).__module__.partition(".")[0]
    if module == "psycopg" and hasattr(session, "pgconn"):
        return hasattr(session, "__aenter__")
    raise ConfigurationError(
        value=session,
        rule=f"session is {KINDS}",
        remedy="Pass what your own statements run on.",
    )


def check(session: object, dialect: Dialect) -> None:
    """Refuse a session of another kind of database, and one without a transaction.

    Raises:
        ConfigurationError: What is written would not be in a transaction of the caller, or not where the tasks are.
    """
    is_async(session)
    name = _dialect(session)
    if name not in dialect.names:
        raise ConfigurationError(
            value=name, rule=f"the session is on the database of the tasks, {dialect.title}", remedy="Pass that one."
        )
    if _is_autocommit(session):
        raise ConfigurationError(
            value=session,
            rule="the session is in a transaction of yours: on this one each statement commits by itself",
            remedy="Begin one first, as in `with connection.transaction():` or `with transaction.atomic():`.",
        )


async def run(session: Any, flow: Flow[T], dialect: Dialect) -> T:
    """Run a flow on a session whose statements are awaited."""
    rows: list[Row] | None = None
    while True:
        try:
            sql, values = flow.send(rows) if rows is not None else next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the flow returns
        if _is_awaited_alchemy(session):
            result = await session.execute(text(dialect.clause(sql)), dialect.plain(values))
            rows = [tuple(row) for row in result.fetchall()] if result.returns_rows else []
        else:
            cursor = await session.execute(sql, values)
            rows = await cursor.fetchall()


def run_now(session: Any, flow: Flow[T], dialect: Dialect) -> T:
    """Run a flow on a session in the calling thread."""
    rows: list[Row] | None = None
    while True:
        try:
            sql, values = flow.send(rows) if rows is not None else next(flow)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the flow returns
        if isinstance(session, Session | Connection):
            result: Any = session.execute(text(dialect.clause(sql)), dialect.plain(values))
            rows = [tuple(row) for row in result.fetchall()] if result.returns_rows else []
        else:
            with session.cursor() as cursor:
                cursor.execute(sql, values)
                rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def after_commit(session: object, call: Callable[[], None]) -> None:
    """Call once after the next commit of the session, where the session can tell of it."""
    from sqlalchemy import event  # needed here alone

    if isinstance(session, Session) or isinstance(getattr(session, "sync_session", None), Session):
        event.listen(getattr(session, "sync_session", session), "after_commit", lambda _: call(), once=True)


def _dialect(session: Any) -> str:
    if _is_alchemy(session):
        return str(_bind(session).dialect.name)
    return str(session.vendor) if _is_django(session) else "postgresql"


def _is_autocommit(session: Any) -> bool:
    if _is_django(session):
        return not session.in_atomic_block and session.get_autocommit()
    if _is_alchemy(session):
        bind = _bind(session)
        of_engine = bind.dialect._on_connect_isolation_level  # noqa: SLF001 - what create_engine was told stands nowhere else
        return bool(bind.get_execution_options().get("isolation_level", of_engine) == "AUTOCOMMIT")
    return bool(session.autocommit) and session.info.transaction_status.name == "IDLE"


def _bind(session: Any) -> Any:
    """Return what runs the statements of a session of SQLAlchemy: an engine or a connection."""
    if hasattr(session, "get_bind"):
        return session.get_bind()
    return getattr(session, "sync_connection", None) or getattr(session, "sync_engine", session)


def _is_alchemy(session: object) -> bool:
    return isinstance(session, Session | Connection) or _is_awaited_alchemy(session)


def _is_django(session: object) -> bool:
    return hasattr(session, "vendor") and hasattr(session, "in_atomic_block")


def _is_awaited_alchemy(session: object) -> bool:
    """Return whether it is SQLAlchemy's AsyncSession or AsyncConnection.

    Whoever has one has imported their module, which needs a package that not everybody installs.
    """
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    return module is not None and isinstance(session, (module.AsyncSession, module.AsyncConnection))
