"""A command that gets the signals that we get."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from tools.commands import ToolError

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Forwarding:
    """Passes signals on to a process, those included that come while it is being started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def to(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what came so far, and what comes from now on."""
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Pass a signal on, unless the terminal has sent it to the process as well."""
        if number == signal.SIGINT and _in_foreground():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def run_forwarding(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a command with our input and output; return its exit code, or 128 and the signal that ended it.

    Raises:
        ToolError: It cannot be started.
    """
    sys.stdout.flush()
    forwarding = Forwarding()
    with _received(forwarding):
        try:
            process = subprocess.Popen(command, env=variables)
        except OSError as error:
            raise ToolError(f"The command cannot be started: {error}") from error
        forwarding.to(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _received(forwarding: Forwarding) -> Iterator[None]:
    before = {number: signal.signal(number, forwarding.receive) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # there is no terminal
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
