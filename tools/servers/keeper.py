"""Keeps one server: starts it, stops it, and ends it when its runner is gone, however that came about.

    python keeper.py HOME RUNNER

Standard input is a pipe whose other end the runner holds. Each line of it is a request in JSON, and each but the last
is answered by a line on standard output. The server is killed and the folder HOME removed when the pipe closes, which
is what a killed runner leaves behind, or when our parent is no longer RUNNER, whose forks may still hold the pipe.

The keeper leads a session of its own, so that Ctrl-C in the terminal does not reach it. It imports nothing but Python:
it starts within milliseconds, and changes to the project do not disturb it.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WATCH_SECONDS = 0.5
CRASH_SECONDS = 30
"""After five seconds PostgreSQL itself kills those of its processes that do not end."""
REMOVE_SECONDS = 15
"""Processes that a killed server leaves behind end by themselves; what they still write until then is removed, too."""
PAUSE_SECONDS = 0.05


class Kept:
    """The process that is kept: none, or one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._crash = signal.SIGKILL

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says: start a command, send it a signal, stop it, or tell whether it ended."""
        if "command" in request:
            return self._start(**request)
        if "signal" in request:
            return self._signal(request["signal"])
        if "stop" in request:
            return {"in_time": self._stop(request["stop"], within=request["within"]), "code": self._code()}
        return {"code": self._code()}

    def end(self) -> None:
        """End the process as a crash would, at once."""
        if self._code() is None and self._process is not None:
            self._stop(self._crash, within=CRASH_SECONDS)

    def _start(self, *, command: list[str], log: str, source: str, crash: int, **process: Any) -> dict[str, Any]:
        self._crash = signal.Signals(crash)
        with Path(log).open("ab") as output, Path(source).open("rb") as content:
            try:
                self._process = subprocess.Popen(
                    command, stdin=content, stdout=output, stderr=output, start_new_session=True, **process
                )
            except OSError as error:
                return {"error": str(error)}
        return {"error": ""}

    def _signal(self, number: int) -> dict[str, Any]:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            if number == signal.SIGSTOP:
                # On a busy machine its threads go on for a while, until each of them has noticed.
                os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return {"code": self._code()}

    def _stop(self, number: int, *, within: float) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        self._process.send_signal(number)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return False
        return True

    def _code(self) -> int | None:
        return None if self._process is None else self._process.poll()


def requests(runner: int) -> Iterator[dict[str, Any]]:
    """Yield what the runner asks for, for as long as it lives and holds the pipe."""
    while os.getppid() == runner:
        ready, _, _ = select.select([sys.stdin.buffer], [], [], WATCH_SECONDS)
        if ready:
            line = sys.stdin.buffer.readline()
            if not line.endswith(b"\n"):
                return
            request = json.loads(line)
            if "end" in request:
                return
            yield request


def remove(home: Path) -> None:
    """Remove a folder in which somebody may still be writing for a moment.

    Raises:
        OSError: It is still there in the end.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    while home.exists():
        try:
            shutil.rmtree(home)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Serve the runner until it is gone; then leave nothing behind."""
    home, runner = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    kept = Kept()
    try:
        for request in requests(runner):
            sys.stdout.write(json.dumps(kept.obey(request)) + "\n")
            sys.stdout.flush()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever ends all processes may say so twice
        kept.end()
        remove(home)


if __name__ == "__main__":
    main()
