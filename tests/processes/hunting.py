"""Worker processes, and signals to those of them that hold tasks at that moment."""

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from examples.index_files.ledger import Entry, Ledger
from oncetask import OnceTask
from tests.processes.worker import CUT, LEASE_SECONDS, STARTED

ENOUGH = 60.0
LOOK_SECONDS = 0.005
LOOKED_SECONDS = 1.0
"""After which all that was created may have been done before anybody was caught doing it: then more is created."""
STOPPED_SECONDS = 2 * LEASE_SECONDS
OVER = ("end", CUT)


class Create(Protocol):
    """Creates tasks."""

    async def __call__(self, *, again: bool) -> None:
        """Create some; `again` only where all that was created has been done."""


class Workers:
    """Worker processes on one store and one ledger.

    Attributes:
        ended: When each process that was killed ended, by its id.
        stopped: The ids of the processes that were stopped for longer than a lease.
    """

    def __init__(self, url: str, ledger: Path) -> None:
        self._command = [sys.executable, "-m", "tests.processes.worker", url, str(ledger)]
        self._ledger = Ledger(ledger)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ended: dict[int, float] = {}
        self.stopped: set[int] = set()

    def start(self) -> None:
        """Start one more."""
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        self._processes[process.pid] = process

    async def kill_one(self, create: Create) -> None:
        """Create tasks, kill one that runs a handler, and start another."""
        process = await self._one_that_runs(create)
        process.kill()
        _code(process)
        self.ended[process.pid] = time.monotonic()
        del self._processes[process.pid]
        self.start()

    async def stop_one(self, create: Create) -> None:
        """Create tasks, stop one that runs a handler for longer than its lease, and replace it when it has ended."""
        process = await self._one_that_runs(create)
        process.send_signal(signal.SIGSTOP)
        self.stopped.add(process.pid)
        await asyncio.sleep(STOPPED_SECONDS)
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(LEASE_SECONDS / 3)
        process.terminate()
        assert await asyncio.to_thread(_code, process) == 0
        del self._processes[process.pid]
        self.start()

    def end(self) -> None:
        """Let all finish; a process that does not, or not in order, is a failure."""
        for process in self._processes.values():
            assert process.stdout is not None
            assert process.stdout.readline().decode().strip() == STARTED
            process.terminate()
        codes = [_code(process) for process in self._processes.values()]
        assert codes == [0] * len(codes)

    def remove(self) -> None:
        """Leave no process behind."""
        for process in self._processes.values():
            process.kill()
            _code(process)

    async def _one_that_runs(self, create: Create) -> "subprocess.Popen[bytes]":
        async with asyncio.timeout(ENOUGH):
            await create(again=False)
            while True:
                until = time.monotonic() + LOOKED_SECONDS
                while time.monotonic() < until:
                    for pid in {entry.pid for entry in unfinished(self._ledger.entries())} & self._processes.keys():
                        return self._processes[pid]
                    await asyncio.sleep(LOOK_SECONDS)
                await create(again=True)


def _code(process: "subprocess.Popen[bytes]") -> int:
    process.communicate(timeout=ENOUGH)
    return process.returncode


@contextmanager
def workers_on(url: str, ledger: Path, *, count: int) -> Iterator[Workers]:
    """Yield so many worker processes; none is left behind."""
    workers = Workers(url, ledger)
    try:
        for _ in range(count):
            workers.start()
        yield workers
    finally:
        workers.remove()


def unfinished(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Return the starts of handlers that have not ended."""
    running: dict[tuple[int, str, str], Entry] = {}
    for entry in entries:
        if entry.event == "start":
            running[entry.pid, entry.task, entry.lease] = entry
        elif entry.event in OVER:
            running.pop((entry.pid, entry.task, entry.lease), None)
    return list(running.values())


def overlaps(tasks: Iterable[OnceTask[object]], entries: Sequence[Entry], workers: Workers) -> list[str]:
    """Return the keys of which two handlers ran at once; a process that was stopped could not end its own in time."""
    key_of = {task.id: task.resource_key for task in tasks}
    ends = {(entry.pid, entry.task, entry.lease): entry.at for entry in entries if entry.event in OVER}
    runs: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        key = key_of[entry.task]
        if entry.event == "start" and key is not None and entry.pid not in workers.stopped:
            end = ends.get((entry.pid, entry.task, entry.lease)) or workers.ended[entry.pid]
            runs.setdefault(key, []).append((entry.at, end))
    return [key for key, held in runs.items() if _overlap(sorted(held))]


def _overlap(held: Sequence[tuple[float, float]]) -> bool:
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(held))
