"""Transactions of the caller, on every kind of session."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.postgresql.world import URL, needs_server, schema_of
from tests.servers.places import PLACES, PostgresqlPlace
from tests.servers.world import Place

Opening = Callable[[Place], AbstractAsyncContextManager[Any]]
OpeningNow = Callable[[Place], AbstractContextManager[Any]]


class RollBackError(Exception):
    """Ends a transaction of a test."""


def roll_back() -> None:
    """End the transaction around the caller."""
    raise RollBackError


@asynccontextmanager
async def async_session(place: Place) -> AsyncIterator[Any]:
    """Yield an AsyncSession in a transaction."""
    engine = create_async_engine(place.alchemy(awaited=True))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def async_connection(place: Place) -> AsyncIterator[Any]:
    """Yield an AsyncConnection in a transaction."""
    engine = create_async_engine(place.alchemy(awaited=True))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def psycopg_connection(place: Place) -> AsyncIterator[Any]:
    """Yield an asynchronous connection of psycopg in a transaction."""
    options = f"-c search_path={schema_of(place.url)}"
    async with await psycopg.AsyncConnection.connect(URL, options=options) as connection:
        yield connection


@asynccontextmanager
async def asyncpg_session(place: Place) -> AsyncIterator[Any]:
    """Yield an AsyncSession in a transaction, over asyncpg, which takes parameters its own way."""
    engine = create_async_engine(URL.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(text(f"SET LOCAL search_path TO {schema_of(place.url)}"))
            yield session
    finally:
        await engine.dispose()


@contextmanager
def session_now(place: Place) -> Iterator[Any]:
    """Yield a Session in a transaction."""
    engine = create_engine(place.alchemy())
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@contextmanager
def connection_now(place: Place) -> Iterator[Any]:
    """Yield a Connection in a transaction."""
    engine = create_engine(place.alchemy())
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def psycopg_now(place: Place) -> Iterator[Any]:
    """Yield a connection of psycopg in a transaction."""
    with psycopg.connect(URL, options=f"-c search_path={schema_of(place.url)}") as connection:
        yield connection


@contextmanager
def psycopg2_session_now(place: Place) -> Iterator[Any]:
    """Yield a Session in a transaction, over psycopg2."""
    engine = create_engine(place.alchemy().replace("+psycopg:", "+psycopg2:"))
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


def _on_each(*openings: Callable[[Place], Any], own: Sequence[Callable[[Place], Any]]) -> pytest.MarkDecorator:
    """Give a test every place with every opening; `own` are of drivers of PostgreSQL."""
    pairs = [
        pytest.param(*place.values, opening, id=f"{place.id}-{opening.__name__}", marks=place.marks)
        for place in PLACES
        for opening in openings
    ]
    pairs += [
        pytest.param(PostgresqlPlace, opening, id=f"postgresql-{opening.__name__}", marks=needs_server)
        for opening in own
    ]
    return pytest.mark.parametrize(("place", "opening"), pairs, indirect=["place"])


ASYNC = _on_each(async_session, async_connection, own=[psycopg_connection, asyncpg_session])
NOW = _on_each(session_now, connection_now, own=[psycopg_now, psycopg2_session_now])


async def write(session: Any, statement: str) -> None:
    """Run a statement of the caller's own."""
    await session.execute(statement if isinstance(session, psycopg.AsyncConnection) else text(statement))


def write_now(session: Any, statement: str) -> None:
    """Run a statement of the caller's own."""
    session.execute(text(statement) if isinstance(session, Session | Connection) else statement)
