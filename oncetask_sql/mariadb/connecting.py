"""Connections with everything set that the statements rely on."""

import ssl
from typing import Any, Final

import asyncmy
from asyncmy.constants.CLIENT import MULTI_STATEMENTS

from oncetask_sql.mariadb.location import Location

LOCK_SECONDS: Final = 1
"""How long a statement waits for a lock at most. Nobody waits for rows: locked ones are skipped. What is waited for are
other transactions of ours, which are short."""
IDLE_SECONDS: Final = 60
"""How long a transaction of ours may stand still."""
REST_SECONDS: Final = 86_400
"""How long a connection may: servers like to end them sooner, and a write that meets that has an unknown outcome."""
_MODE: Final = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"


async def connect(location: Location) -> asyncmy.connection.Connection:
    """Return a connection in autocommit mode that takes several statements at once.

    Raises:
        asyncmy.errors.Error: The server cannot be reached or refuses us.
        OSError: The file of `tls_ca` cannot be read.
    """
    return await asyncmy.connect(
        host=location.host,
        port=location.port,
        unix_socket=location.socket,
        user=location.user,
        password=location.password,
        db=location.database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=max(1, round(location.connect_timeout)),
        client_flag=MULTI_STATEMENTS,
        init_command=_settings(location),
        program_name="oncetask",
        ssl=None if location.tls_ca is None else ssl.create_default_context(cafile=location.tls_ca),
    )


async def largest_packet(connection: asyncmy.connection.Connection) -> int:
    """Return how many bytes the server takes at once.

    Raises:
        asyncmy.errors.Error: The connection was lost.
    """
    cursor = connection.cursor()
    await cursor.execute("SELECT @@max_allowed_packet")
    ((number,),) = await cursor.fetchall()
    return int(number)


def _settings(location: Location) -> str:
    settings: dict[str, Any] = {
        "sql_mode": f"'{_MODE}'",
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": LOCK_SECONDS,
        "lock_wait_timeout": max(1, round(location.statement_timeout)),
        "max_statement_time": location.statement_timeout,
        "idle_transaction_timeout": IDLE_SECONDS,
        "wait_timeout": REST_SECONDS,
        "sql_notes": 0,
        "sql_safe_updates": 0,
        "completion_type": "'NO_CHAIN'",
    }
    assigned = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
    return f"SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin, {assigned}"
