"""What the example prints while it runs."""

import sys
import time
from collections.abc import Callable

LINE_EVERY = 2.0
"""Seconds between two lines of progress where they cannot replace each other."""


def say(line: str) -> None:
    """Print a line of the story, over the progress that stands in its place on a terminal."""
    print(f"\r{line:<78}" if sys.stdout.isatty() else line, flush=True)


class Progress:
    """Shows how far things are: in place on a terminal, else with a line every two seconds.

    Args:
        seconds: A clock that never goes back.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._printed_at = seconds()

    def __call__(self, line: str) -> None:
        """Show a line, unless the last one was printed a moment ago and cannot be replaced."""
        if sys.stdout.isatty():
            print(f"\r{line:<78}", end="", flush=True)
        elif self._seconds() - self._printed_at >= LINE_EVERY:
            self._printed_at = self._seconds()
            print(line, flush=True)
