"""From the driver's errors to ours; each says what is wrong and what to do."""

import sqlite3
from pathlib import Path
from typing import Final

from oncetask_core.errors import ConfigurationError, StoreError, StoreUnavailableError

ROW_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
    TypeError,
)
"""What one row alone is to blame for; the statement did nothing, and the transaction goes on."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_PRIMARY = 0xFF
_WAY_OUT = {
    sqlite3.SQLITE_PERM: "Let this user read and write the file and its folder.",
    sqlite3.SQLITE_READONLY: "Let this user write the file and its folder: the log lies beside the file.",
    sqlite3.SQLITE_CANTOPEN: "Check that the folder exists and that this user may write there.",
    sqlite3.SQLITE_NOTADB: "Name another file, or move this one away.",
    sqlite3.SQLITE_CORRUPT: "Restore a backup, or try the recover command of the sqlite3 shell on a copy.",
    sqlite3.SQLITE_FULL: "Free some space; the store goes on by itself then.",
    sqlite3.SQLITE_IOERR: "Check the disk.",
}
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT})
_WRONG_PLACE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of SQLite, or 0 where the error comes from the driver itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether somebody else has the file at this moment."""
    return code_of(error) in _BUSY


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Return what a failing statement means to the caller."""
    code = code_of(error)
    text = f"SQLite file {str(path)!r}: {error}. {_WAY_OUT.get(code, '')}".rstrip()
    return StoreUnavailableError(text) if code in _PASSING or code in _BUSY else StoreError(text)


def opening_error(error: sqlite3.Error, path: Path) -> StoreError | ConfigurationError:
    """Return what a failure to open the file means to the caller: a wrong place is a matter of configuration."""
    code = code_of(error)
    if code not in _WRONG_PLACE:
        return store_error(error, path)
    return ConfigurationError(
        value=str(path),
        rule=f"the store needs a SQLite file that it can read and write ({error})",
        remedy=_WAY_OUT[code],
    )


def unknown_outcome(error: sqlite3.Error, path: Path) -> StoreUnavailableError:
    """Return the error of a COMMIT that failed: what was written may or may not be there."""
    return StoreUnavailableError(
        f"SQLite file {str(path)!r}: the commit failed ({error}), so its outcome is not known. Ask again: "
        f"repeating the call is safe. {_WAY_OUT.get(code_of(error), '')}".rstrip()
    )


def lost(path: Path) -> StoreError:
    """Return the error of a write into a file that was deleted, moved or replaced while it was open."""
    return StoreError(
        f"SQLite file {str(path)!r}: it was deleted, moved or replaced since it was opened, so nothing was written. "
        "Stop every process that has it open, put it back with its -wal and -shm files, and start them again."
    )


def busy(path: Path, waited: float) -> StoreUnavailableError:
    """Return the error of a call that did not get its turn in time."""
    return StoreUnavailableError(
        f"SQLite file {str(path)!r}: other connections kept it locked for {waited:.1f} s. Try again; "
        "look for a program that holds a transaction open, or raise busy_timeout in the URL."
    )
