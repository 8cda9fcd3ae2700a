"""Tasks in Google's Cloud Firestore, in the documents of the Go library."""

from oncetask_core.clock import Clock
from oncetask_firestore import forks  # noqa: F401 - the first one: it decides how gRPC is imported
from oncetask_firestore.location import located
from oncetask_firestore.store import FirestoreStore

__all__ = ["FirestoreStore", "open_store"]


def open_store(url: str, *, env: str, clock: Clock | None = None) -> FirestoreStore:
    """Return a store for a `firestore://project/database` URL, with the credentials of the environment.

    Raises:
        ConfigurationError: The URL is malformed, or has an option that is unknown.
    """
    location = located(url)
    return FirestoreStore(
        project=location.project,
        database=location.database,
        ids=location.ids,
        shared_with_go=location.shared_with_go,
        env=env,
        clock=clock,
    )
