"""The runner's side of the keeper."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any, Self

from tools.servers.errors import ServerFailedError
from tools.servers.homes import Account

PROGRAM = Path(__file__).with_name("keeper.py")
END_SECONDS = 90
"""More than the keeper takes for a server that does not end, and for a slow disk."""
LOG_LINES = 30


class Keeper:
    """A process that keeps a server for us, and ends it when we are gone; then it removes the server's home."""

    def __init__(self, name: str, home: Path, account: Account | None) -> None:
        self._name = name
        self._home = home
        self._account = account
        self.log = home / "server.log"
        self._own_log = home / "keeper.log"
        with self._own_log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), str(home), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                bufsize=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the server, and remove its home.

        Raises:
            ServerFailedError: The keeper cannot do it.
        """
        stdin, stdout = self._pipes()
        with contextlib.suppress(BrokenPipeError), stdin:  # its exit code tells what became of it
            stdin.write(b'{"end": true}\n')  # a fork of ours may hold the pipe open
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ServerFailedError(self._name, f"was not ended within {END_SECONDS} s", log=self.tail()) from error
        finally:
            stdout.close()
        if code != 0:
            raise self._lost()

    def start(
        self, command: Sequence[str], *, variables: Mapping[str, str], crash: Signals, source: Path | None = None
    ) -> None:
        """Start a command in the home, as the account that the server has.

        Args:
            command: The program, with its arguments.
            variables: All of its environment.
            crash: The signal that ends it at once.
            source: The file that it reads as its standard input, if any.

        Raises:
            ServerFailedError: The program cannot be started.
        """
        who = {} if self._account is None else {**self._account._asdict(), "extra_groups": []}
        files = {"log": str(self.log), "source": str(source or os.devnull), "cwd": str(self._home)}
        reply = self._ask({"command": list(command), "env": dict(variables), "crash": crash, **files, **who})
        if reply["error"]:
            raise ServerFailedError(self._name, f"cannot be started: {reply['error']}")

    def stop(self, signal: Signals, *, within: float) -> None:
        """Stop the command by a signal; what has ended before is fine.

        Raises:
            ServerFailedError: It did not end within that many seconds, and was killed.
        """
        if not self._ask({"stop": signal, "within": within})["in_time"]:
            raise ServerFailedError(self._name, f"did not stop within {within} s of {signal.name}", log=self.tail())

    def send(self, signal: Signals) -> None:
        """Send the command a signal, unless it has ended; after SIGSTOP it does nothing any more."""
        self._ask({"signal": signal})

    def code(self) -> int | None:
        """Return the exit code of the command, or None while it runs."""
        code: int | None = self._ask({})["code"]
        return code

    def tail(self, *, after: int = 0) -> str:
        """Return the last lines of the server's log, of those after a number of bytes."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_bytes()[after:].decode(errors="replace").splitlines()[-LOG_LINES:])

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        stdin, stdout = self._pipes()
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._lost() from error
        line = stdout.readline()
        if not line:
            raise self._lost()
        reply: Mapping[str, Any] = json.loads(line)
        return reply

    def _lost(self) -> ServerFailedError:
        said = self._own_log.read_text(encoding="utf-8") if self._own_log.exists() else ""
        return ServerFailedError(self._name, f"has lost its keeper; look for what is left in {self._home}", log=said)

    def _pipes(self) -> tuple[Any, Any]:
        return self._process.stdin, self._process.stdout
