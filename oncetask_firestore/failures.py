"""What errors of Firestore mean, by their class: messages differ between the service and its emulator."""

from collections.abc import Mapping
from typing import Final

from google.api_core import exceptions

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_firestore.clients import EMULATOR

REFUSALS = (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound)
"""A precondition did not hold: nothing of the commit was written, unless an earlier try of it was."""
NOT_WRITTEN = (exceptions.Aborted, exceptions.ResourceExhausted)
"""Nothing was written, and asking again may help."""
UNCERTAIN = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Cancelled,
    exceptions.RetryError,
)
"""Nobody knows whether it was written; asking again may help."""
TRANSIENT = (*NOT_WRITTEN, *UNCERTAIN)
UNWRITABLE = (exceptions.InvalidArgument, exceptions.OutOfRange)
"""Firestore does not take what is to be written: too large, or a value that it has not."""


_INDEXES = """An index is missing, or the database is not in Native mode: deploy firestore.indexes.json, which lies in \
the package oncetask_firestore, and wait until the indexes are built."""
_ROLE = """Give the account the role roles/datastore.user in this project, and see that the Firestore API is enabled \
there."""
_LOGIN = """Renew the credentials: `gcloud auth application-default login`, or the key file that \
GOOGLE_APPLICATION_CREDENTIALS names."""
_PLUGIN = "metadata from plugin failed"
"""How gRPC begins the error of a call for which the credentials gave no token, whatever the reason."""
_EMULATOR = f"""Start the emulator there (`gcloud emulators firestore start`), or unset {EMULATOR} for Firestore \
itself."""
_LINE = "See whether this machine reaches firestore.googleapis.com; workers go on when it does."
_DATABASE = """Create the database, or name one that `gcloud firestore databases list` shows: the first of a project \
is called (default)."""
_WAYS_OUT: Final[Mapping[type[Exception], str]] = {
    exceptions.FailedPrecondition: _INDEXES,
    exceptions.PermissionDenied: _ROLE,
    exceptions.Unauthenticated: _LOGIN,
    exceptions.NotFound: _DATABASE,
}


def unavailable(name: str, error: Exception, seconds: float) -> StoreUnavailableError:
    """Return the error of a call to a database that did not succeed for so many seconds."""
    if isinstance(error, exceptions.ResourceExhausted):
        return StoreUnavailableError(
            f"{name} refused a call for {seconds:.0f} s because a quota is used up: {error!r}. "
            "The project's quotas and budget are in the console; workers go on when there is room again."
        )
    return StoreUnavailableError(
        f"{name} did not answer for {seconds:.0f} s; the last error was: {error!r}. {_way_back(name, error)}"
    )


def _way_back(name: str, error: Exception) -> str:
    """Return what to look at where nothing answers; only gRPC's text tells credentials from a line that is down."""
    if _PLUGIN in str(error):
        return f"No token was had for the credentials. {_LOGIN}"
    return _EMULATOR if EMULATOR in name else _LINE


def failed(name: str, error: Exception) -> StoreError:
    """Return the error of a call to a database that asking again does not mend."""
    ways = "".join(f". {way}" for known, way in _WAYS_OUT.items() if isinstance(error, known))
    return StoreError(f"{name} refused the call: {error!r}{ways}")
