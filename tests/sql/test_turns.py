"""Waiting for the file while other processes write to it all the time, in the time of the test."""

import contextlib
import random
import sqlite3

import pytest

from oncetask_sql.sqlite import turns
from oncetask_sql.sqlite.connecting import LOCK_SECONDS, connect
from oncetask_sql.sqlite.forks import Gate
from tests.sql.world import Space

BUSY_SECONDS = 0.020
FREE_SECONDS = 0.002


class Contended(Gate):
    """A file that others leave for two milliseconds after each twenty, and the gate of a thread that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def pause(self, seconds: float) -> None:
        """Let the time pass."""
        self.waited += seconds

    def write(self) -> float:
        """Return how long it took, if the file is free now; else wait for as long as SQLite itself does.

        Raises:
            sqlite3.OperationalError: Others write.
        """
        if self.waited % (BUSY_SECONDS + FREE_SECONDS) < BUSY_SECONDS:
            self.waited += LOCK_SECONDS
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return self.waited


def test_whoever_waits_for_the_file_is_served_soon_however_busy_it_is(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses do not grow, or a process that waits would lose every race against one that has just written."""
    waits = []
    for seed in range(100):
        monkeypatch.setattr(random, "uniform", random.Random(seed).uniform)
        file = Contended()
        waits.append(turns.patiently(file.write, space.patient, gate=file))

    assert max(waits) < 1


def test_sqlite_itself_waits_for_a_moment_only(space: Space) -> None:
    """Its own pauses grow."""
    space.prepare()
    with contextlib.closing(connect(space.location)) as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (5,)
