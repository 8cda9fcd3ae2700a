"""From the driver's errors to ours; each says what is wrong and what to do. Locks alone are met by another attempt."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
from psycopg import errors

from oncetask_core.errors import SchemaError, StoreError, StoreUnavailableError

ROW_ERRORS: Final = (
    errors.DataError,
    errors.IntegrityError,
    errors.ProgramLimitExceeded,
    OverflowError,
    ValueError,
    TypeError,
)
"""What one row alone is to blame for."""
LOCKED: Final = (errors.LockNotAvailable, errors.DeadlockDetected)
"""Another transaction holds a row or a stripe; nothing was written."""

_AGAIN: Final = ("08", "40", "53", "57", "58")
"""Classes of SQLSTATE after which asking again may help: connections, rollbacks, resources, operators, the system."""
_WAYS_OUT: Final = {
    "25006": "The server takes no writes: a standby, or a fail-over in progress. Let the URL name the primary.",
    "28P01": "Check user and password in the URL.",
    "28000": "Check the user in the URL and the server's pg_hba.conf.",
    "3D000": "Create the database, or name another one in the URL.",
    "42501": "Grant this role what docs/postgresql.md lists, or let another role migrate.",
    "53300": "Raise max_connections, or use fewer processes; docs/postgresql.md has the arithmetic.",
    "57014": "The statement took longer than statement_timeout in the URL.",
}
_NO_TABLE: Final = ("42P01", "3F000", "42703")

T = TypeVar("T")


async def unless_locked(attempt: Callable[[int], Awaitable[T]], *, tries: int) -> T:
    """Return what the first attempt returns that no lock of others stops.

    Args:
        attempt: Writes something in one transaction; it is told how many attempts there were before.
        tries: How many there are at most; what stops the last one is raised.
    """
    for number in range(tries - 1):
        with contextlib.suppress(*LOCKED):
            return await attempt(number)
    return await attempt(tries - 1)


def store_error(error: Exception, address: str) -> StoreError:
    """Return what a failure of the driver means to the caller."""
    code = getattr(error, "sqlstate", None) or ""
    if code in _NO_TABLE:
        return SchemaError(f"PostgreSQL {address}: {_text(error)}. Run python -m oncetask_sql migrate {address}")
    text = f"PostgreSQL {address}: {_text(error)}. {_WAYS_OUT.get(code, '')}".rstrip()
    passes = code[:2] in _AGAIN or code in ("25006", "55P03")
    lost = not code and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return StoreUnavailableError(text) if passes or lost else StoreError(text)


def _text(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
