"""A server that we start and stop, on one port for all its life."""

import time
from itertools import islice
from pathlib import Path
from signal import Signals

from tools.servers.engine import Command, Engine
from tools.servers.errors import ServerFailedError
from tools.servers.keeping import Keeper
from tools.servers.ports import free_ports

START_SECONDS = 180
STOP_SECONDS = 60
POLL_SECONDS = 0.02
PORTS = 5
TAKEN = "Address already in use"


class PortTakenError(ServerFailedError):
    """Somebody else was faster to listen on the port."""


class ServerProcess:
    """The data of one server in a home, and the process over them while it runs."""

    def __init__(self, engine: Engine, *, home: Path, keeper: Keeper, durable: bool) -> None:
        self._engine = engine
        self._home = home
        self._keeper = keeper
        self._durable = durable
        self._port = 0

    def create(self, preparation: Command) -> str:
        """Make new data by a command, start the server on a free port, and return its URL.

        Raises:
            ServerFailedError: It cannot be made, or does not answer in time.
        """
        self._prepare(preparation)
        *others, last = islice(free_ports(), PORTS)
        for port in others:
            try:
                return self._start_on(port)
            except PortTakenError:
                continue
        return self._start_on(last)

    def start(self) -> None:
        """Start the server unless it runs; return when it answers.

        Raises:
            ServerFailedError: It does not answer in time.
        """
        if self._keeper.code() is not None:
            self._start_on(self._port)

    def stop(self, *, immediate: bool) -> None:
        """Stop the server in order, or as a crash would.

        Raises:
            ServerFailedError: It does not end in time, and was killed.
        """
        self._keeper.stop(self._engine.crash if immediate else self._engine.fast, within=STOP_SECONDS)

    def pause(self) -> None:
        """Let the server do nothing, without cutting a connection."""
        self._keeper.send(Signals.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._keeper.send(Signals.SIGCONT)

    def _prepare(self, preparation: Command) -> None:
        self._run(preparation)
        deadline = time.monotonic() + START_SECONDS
        while (code := self._keeper.code()) is None:
            self._wait(deadline, "does not finish making its data")
        if code != 0:
            raise self._failed(f"cannot make its data (exit code {code})")

    def _start_on(self, port: int) -> str:
        before = self._keeper.log.stat().st_size
        line = self._engine.command(self._home, port=port, durable=self._durable)
        self._run(Command(line))
        url = self._engine.client.url(port)
        deadline = time.monotonic() + START_SECONDS
        while reason := self._engine.client.knock(url, folder=self._home):
            self._look(port, before)
            self._wait(deadline, f"does not answer ({reason})")
        self._port = port
        return url

    def _run(self, command: Command) -> None:
        variables = self._engine.installation.variables
        self._keeper.start(command.line, variables=variables, crash=self._engine.crash, source=command.source)

    def _look(self, port: int, before: int) -> None:
        code = self._keeper.code()
        if code is None:
            return
        if TAKEN in (log := self._keeper.tail(after=before)):
            raise PortTakenError(self._engine.client.name, f"finds port {port} taken", log=log)
        raise self._failed(f"ended while it started (exit code {code})")

    def _wait(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise self._failed(f"{what} within {START_SECONDS} s")
        time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> ServerFailedError:
        return ServerFailedError(self._engine.client.name, what, log=self._keeper.tail())
