"""Forking while other threads use SQLite: the child must not inherit one of SQLite's locks.

SQLite keeps process-wide mutexes. If a fork happens while another thread holds one, the child waits for ever at
its first call. So a fork waits until no connection thread of ours is inside SQLite. Hooks of a fork belong to
the process and cannot be taken back, which is why the set of them lives in this module.
"""

import os
import threading
import time
import weakref
from typing import Final

PATIENCE_SECONDS: Final = 10.0
"""A fork is not held up for longer, whatever happens."""


class Gate:
    """Held by a connection thread while it is inside SQLite, and by whoever forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_for_fork = False
        with _registering:
            _gates.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def pause(self, seconds: float) -> None:
        """Sleep outside; the thread has to be inside."""
        self._lock.release()
        try:
            time.sleep(seconds)
        finally:
            self._lock.acquire()

    def shut(self) -> None:
        """Wait until the thread is outside, and keep it there."""
        self._held_for_fork = self._lock.acquire(timeout=PATIENCE_SECONDS)

    def reopen(self) -> None:
        """Let the thread go on; in the child there is none, but a copy of the gate."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()


_gates: Final[weakref.WeakSet[Gate]] = weakref.WeakSet()
_registering: Final = threading.Lock()


def _before() -> None:
    _registering.acquire()
    for gate in list(_gates):
        gate.shut()


def _after() -> None:
    for gate in list(_gates):
        gate.reopen()
    _registering.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
