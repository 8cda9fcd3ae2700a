"""From the driver's errors to ours; each says what is wrong and what to do."""

from typing import Final

from asyncmy import errors

from oncetask_core.errors import SchemaError, StoreError, StoreUnavailableError

ROW_ERRORS: Final = (
    errors.DataError,
    errors.IntegrityError,
    errors.NotSupportedError,
    OverflowError,
    ValueError,
    TypeError,
)
"""What one row alone is to blame for, unless it is a duplicate."""
SERVER_ERRORS: Final = (errors.MySQLError, OSError)
"""What ends work over a connection."""

DUPLICATE: Final = 1062
LOCK_TIMEOUT: Final = 1205
DEADLOCK: Final = 1213
_CHANGED: Final = 1020
"""Another transaction changed the row since the snapshot was taken: answered by newer servers in place of waiting."""
_PASSING: Final = frozenset(
    {
        1021, 1023, 1037, 1038, 1040, 1041, 1043, 1053, 1105, 1114, 1129, 1135, 1152, 1158, 1159, 1160, 1161,
        1180, 1184, 1192, 1203, 1205, 1213, 1226, 1290, 1317, 1792, 1836, 1927, 1969, 3024,
    }
)  # fmt: skip
"""After these errors asking again may help: connections, resources, locks, operators, servers that take no writes."""
_WAYS_OUT: Final = {
    1040: "Raise max_connections, or use fewer processes; docs/mariadb.md has the arithmetic.",
    1044: "Grant this user what docs/mariadb.md lists, or let another user migrate.",
    1045: "Check user and password in the URL; a server that wants TLS says no more than this, either: name tls_ca.",
    1049: "Create the database, or name another one in the URL.",
    1142: "Grant this user what docs/mariadb.md lists, or let another user migrate.",
    1143: "Grant this user what docs/mariadb.md lists, or let another user migrate.",
    1290: "The server takes no writes: a replica, or a fail-over in progress. Let the URL name the primary.",
    1665: "Set binlog_format to MIXED or ROW on the server: READ COMMITTED needs it.",
    1969: "The statement took longer than statement_timeout in the URL.",
}
_NO_TABLE: Final = frozenset({1054, 1146, 4091})
_CLIENT: Final = range(2000, 3000)
"""Errors that the driver itself raises: the connection could not be made or was lost."""


def code_of(error: BaseException) -> int:
    """Return the server's number of an error; 0 where there is none."""
    first = error.args[0] if isinstance(error, errors.MySQLError) and error.args else 0
    return first if isinstance(first, int) else 0


def is_locked(error: BaseException) -> bool:
    """Return whether another transaction was in the way: nothing was written, and it may go at once."""
    return code_of(error) in (LOCK_TIMEOUT, DEADLOCK, _CHANGED)


def is_duplicate(error: BaseException) -> bool:
    """Return whether a value that has to be unique existed."""
    return code_of(error) == DUPLICATE


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is gone."""
    return isinstance(error, OSError | errors.InterfaceError) or code_of(error) in _CLIENT


def store_error(error: Exception, address: str) -> StoreError:
    """Return what a failure of the driver means to the caller."""
    code = code_of(error)
    if code in _NO_TABLE:
        return SchemaError(f"MariaDB {address}: {_text(error)}. Run python -m oncetask_sql migrate {address}")
    text = f"MariaDB {address}: {_text(error)}. {_WAYS_OUT.get(code, '')}".rstrip()
    return StoreUnavailableError(text) if code in _PASSING or is_lost(error) else StoreError(text)


def _text(error: Exception) -> str:
    said = str(error.args[1]) if isinstance(error, errors.MySQLError) and len(error.args) > 1 else str(error)
    return said.strip().splitlines()[0].rstrip(".") if said.strip() else type(error).__name__
