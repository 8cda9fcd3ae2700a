"""What errors of Firestore mean, by their class: messages differ between the service and its emulator."""

from google.api_core import exceptions

from oncetask_core.errors import StoreError, StoreUnavailableError

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


def unavailable(error: Exception, seconds: float) -> StoreUnavailableError:
    """Return the error of a call that did not succeed for so many seconds."""
    return StoreUnavailableError(f"Firestore did not answer for {seconds:.0f} s; the last error was: {error!r}")


def failed(error: Exception) -> StoreError:
    """Return the error of a call that asking again does not mend."""
    hint = ""
    if isinstance(error, exceptions.FailedPrecondition):
        hint = " (a missing index? deploy firestore.indexes.json)"
    elif isinstance(error, exceptions.PermissionDenied | exceptions.Unauthenticated):
        hint = " (the account needs the role roles/datastore.user)"
    return StoreError(f"Firestore refused the call{hint}: {error!r}")
