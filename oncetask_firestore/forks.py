"""Forks: a child of a process that has called Firestore lives on, but calls Firestore no more."""

import importlib
import os
from typing import Final

from oncetask_core.errors import ConfigurationError

FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"
"""Whether gRPC stops its threads at a fork and starts them anew in the child; it is read when gRPC is first imported.

https://github.com/grpc/grpc/blob/master/doc/fork_support.md
"""

_callers: Final[set[int]] = set()
"""The processes that have called Firestore: this one, and those that it was forked from."""


def check_fork() -> None:
    """Refuse what could wait for ever: the threads of gRPC are missing in a child.

    Raises:
        ConfigurationError: This process was forked from one that had called Firestore.
    """
    parents = _callers - {os.getpid()}
    if parents:
        raise ConfigurationError(
            value=f"a process that was forked from process {parents.pop()}, which had called Firestore",
            rule="gRPC, by which Firestore is called, does not work in a child of a process that has used it",
            remedy="Fork before the first call, or start processes by spawn.",
        )


def calls_from_here() -> None:
    """Remember that this process calls Firestore: its children do not."""
    _callers.add(os.getpid())


def _import_grpc() -> None:
    """Import gRPC, told to leave children alone unless the environment says what it shall do.

    By default it starts threads in them, which crash some. What this process starts does not inherit what we say.
    """
    if FORK_SUPPORT in os.environ:
        return
    os.environ[FORK_SUPPORT] = "false"
    try:
        importlib.import_module("grpc")
    finally:
        del os.environ[FORK_SUPPORT]


_import_grpc()
