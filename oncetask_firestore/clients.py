"""The clients of Firestore that we make, and how a database is called in messages to people."""

import copy
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1 import AsyncClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcAsyncIOTransport
from grpc import aio

from oncetask_core.errors import ConfigurationError

EMULATOR: Final = "FIRESTORE_EMULATOR_HOST"
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_ADDRESS = re.compile(r"[^/\s]+:\d+")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_DATABASE = re.compile(r"\(default\)|[a-z0-9-]+")


def check_project(project: str) -> str:
    """Return the id of a project.

    Raises:
        ConfigurationError: No project could have it.
    """
    remedy = "Take the id that the console shows beside the project's name, not the name."
    return _checked(project, _PROJECT, name="project", remedy=remedy)


def check_database(database: str) -> str:
    """Return the id of a database.

    Raises:
        ConfigurationError: No database could have it.
    """
    remedy = "Take an id that `gcloud firestore databases list` shows, without the path before it."
    return _checked(database, _DATABASE, name="database", also=", or is (default)", remedy=remedy)


def _checked(value: str, form: re.Pattern[str], *, name: str, also: str = "", remedy: str) -> str:
    if form.fullmatch(value):
        return value
    rule = f"the id of a {name} has lower-case letters, digits and hyphens{also}"
    raise ConfigurationError(value=value, rule=rule, remedy=remedy)


def options_of(client: AsyncClient) -> dict[str, Any]:
    """Return with what another client for the same database is made.

    Its credentials are handed on; Google's clients take none beside options that say where others lie.
    """
    options = copy.copy(client._client_options)  # noqa: SLF001 - a client's options cannot be asked for
    if options is not None:
        options.credentials_file = options.api_key = None
    return {
        "project": client.project,
        "database": client._database,  # noqa: SLF001 - the client tells it by no other way
        "credentials": client._credentials,  # noqa: SLF001 - a client cannot be copied by other means
        "client_options": options,
    }


def new_client(options: Mapping[str, Any]) -> AsyncClient:
    """Return a client for the running event loop; nothing is connected yet.

    Raises:
        ConfigurationError: Project or credentials are missing or malformed, or the address of the emulator is.
    """
    address = os.environ.get(EMULATOR)
    if address is not None and not _ADDRESS.fullmatch(address):
        raise ConfigurationError(
            value=address,
            rule=f"{EMULATOR} is the host:port of an emulator, and is not set where there is none",
            remedy=f"Write 127.0.0.1:8080, without http://; for Firestore itself unset {EMULATOR}.",
        )
    try:
        return AsyncClient(**options)
    except (GoogleAuthError, OSError, ValueError) as error:
        raise ConfigurationError(
            value=options.get("project"),
            rule=f"a store on Firestore needs a project and credentials for it ({error})",
            remedy="Name the project, as in firestore://shop. Run `gcloud auth application-default login`, or set "
            f"GOOGLE_APPLICATION_CREDENTIALS to a key file; for an emulator set {EMULATOR} to its host:port.",
        ) from error


def channel_of(client: AsyncClient) -> aio.Channel:
    """Return a channel of our own to where a client talks to, with its credentials.

    The client's own tries a server that was away for minutes again after two more.
    """
    emulator = client._emulator_host  # noqa: SLF001 - the client tells it by no other way
    if emulator is not None:
        return aio.insecure_channel(emulator, options=_OPTIONS)
    target, credentials = client._target, client._credentials  # noqa: SLF001 - nor where it goes, and as whom
    return FirestoreGrpcAsyncIOTransport.create_channel(target, credentials=credentials, options=_OPTIONS)


def name_of(client: AsyncClient) -> str:
    """Return how the database of a client is called in messages."""
    database, emulator = client._database, client._emulator_host  # noqa: SLF001 - the client tells them by no other way
    name = f"Firestore (project {client.project!r}, database {database!r}"
    return f"{name})" if emulator is None else f"{name}, emulator {emulator} of {EMULATOR})"
