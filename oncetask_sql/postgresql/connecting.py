"""Connections with everything set that the statements rely on."""

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8Dumper

from oncetask_sql.codec import Row
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Statement

LOCK_MILLISECONDS: Final = 50
"""How long a write waits for a row that somebody else has locked, before it goes on without it."""
IDLE_SECONDS: Final = 60
GENERIC: Final = "force_generic_plan"
"""The statements of these sessions search the same indexes whatever their values, and are planned once."""
PLAN_CACHE_MODES: Final[Mapping[str, str]] = {"reads": "force_custom_plan"}
"""Listings are planned for their values: whether anything is old enough to be deleted, the statistics know."""


async def connect(location: Location, purpose: str) -> AsyncConnection[Row]:
    """Return a connection in autocommit mode.

    Raises:
        psycopg.Error: The server cannot be reached or refuses us.
    """
    connection: AsyncConnection[Row] = await AsyncConnection.connect(
        location.url,
        autocommit=True,
        prepare_threshold=None if location.pooler else 0,
        connect_timeout=max(2, round(location.connect_timeout)),
        application_name=f"{location.application_name} {purpose}",
        options=_options(location, purpose),
    )
    connection.adapters.register_dumper(int, Int8Dumper)  # every integer has one type, so a statement one plan
    return connection


def prelude(location: Location) -> Sequence[Statement]:
    """Return what each transaction begins with: nothing, or behind a pooler the settings that no session keeps."""
    if not location.pooler:
        return ()
    settings = {
        "lock_timeout": f"{LOCK_MILLISECONDS}ms",
        "statement_timeout": f"{round(location.statement_timeout * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    }
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    return ((f"SELECT {calls}", {}),)


def _options(location: Location, purpose: str) -> str | None:
    """Return settings of the session; behind a pooler there is none."""
    if location.pooler:
        return None
    settings = {
        "lock_timeout": LOCK_MILLISECONDS,
        "statement_timeout": round(location.statement_timeout * 1000),
        "idle_in_transaction_session_timeout": IDLE_SECONDS * 1000,
        "plan_cache_mode": PLAN_CACHE_MODES.get(purpose, GENERIC),
        "default_transaction_isolation": "read\\ committed",
        "client_encoding": "UTF8",
    }
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
