"""The keeper of a server leaves nothing behind, whatever happens while it ends."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tools.waiting import ENOUGH, eventually
from tools.servers.keeping import PROGRAM

SLOW_TO_END = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path({ends!r}).touch()
    while not pathlib.Path({may_end!r}).exists():
        time.sleep(0.01)
    sys.exit()
signal.signal(signal.SIGUSR1, end)
pathlib.Path({runs!r}).touch()
signal.pause()
"""
LEAVES_A_WRITER = """
import itertools, os, pathlib, signal, time
server = os.getpid()
if os.fork():
    signal.pause()
os.setsid()
until = None
for number in itertools.count():
    pathlib.Path(str(number)).touch()
    if number == 3000:  # which are not removed in a moment
        pathlib.Path({runs!r}).touch()
    if until is None and os.getppid() != server:
        until = time.monotonic() + 0.5
    if until is not None and time.monotonic() > until:
        break
"""
SLOW_TO_STOP = """
import os, pathlib, signal
pathlib.Path({pid!r}).write_text(str(os.getpid()))
opening = (os.POSIX_SPAWN_OPEN, 0, {gate!r}, os.O_RDONLY, 0)
os.posix_spawn("/bin/sh", ["sh", "-c", ":"], dict(), file_actions=[opening])  # returns when somebody opens the gate
signal.pause()
"""
A_MOMENT = 0.2


@contextmanager
def keeping(home: Path, program: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield a keeper that runs a program of Python's in a home; the block's end ends both."""
    home.mkdir()
    line = [sys.executable, "-I", "-S", str(PROGRAM), str(home), str(os.getpid())]
    request = {
        "command": [sys.executable, "-c", program],
        "env": {},
        "crash": signal.SIGUSR1,
        "log": str(home / "server.log"),
        "source": os.devnull,
        "cwd": str(home),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(f"{json.dumps(request)}\n")
        keeper.stdin.flush()
        assert json.loads(keeper.stdout.readline()) == {"error": ""}
        yield keeper


def test_whoever_is_terminated_twice_removes_the_home(tmp_path: Path) -> None:
    """The second time it is waiting for its server to end."""
    home, runs, ends, may_end = (tmp_path / name for name in ("home", "runs", "ends", "may end"))
    with keeping(home, SLOW_TO_END.format(runs=str(runs), ends=str(ends), may_end=str(may_end))) as keeper:
        eventually(runs.exists, "the server runs")
        keeper.send_signal(signal.SIGTERM)
        eventually(ends.exists, "the server is told to end")
        keeper.send_signal(signal.SIGTERM)
        may_end.touch()
        code = keeper.wait(ENOUGH)

    assert code == 128 + signal.SIGTERM
    assert not home.exists()


def test_what_a_process_writes_that_the_server_has_left_behind_is_removed_as_well(tmp_path: Path) -> None:
    """It ends a moment after its server: until then the home is never empty for long."""
    home, runs = tmp_path / "home", tmp_path / "runs"
    with keeping(home, LEAVES_A_WRITER.format(runs=str(runs))) as keeper:
        eventually(runs.exists, "the server runs")

    assert keeper.returncode == 0
    assert not home.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process does")
def test_a_process_is_paused_when_that_is_answered(tmp_path: Path) -> None:
    """One whose child has not begun yet cannot be stopped before it has; until then there is no answer."""
    gate, pid = tmp_path / "gate", tmp_path / "pid"
    os.mkfifo(gate)
    with keeping(tmp_path / "home", SLOW_TO_STOP.format(gate=str(gate), pid=str(pid))) as keeper:
        eventually(lambda: pid.exists() and pid.read_text() != "", "the server runs")
        server = pid.read_text()
        eventually(lambda: has_child(server) and state_of(server) == "D", "the server waits for its child to begin")
        say(keeper, signal.SIGSTOP)
        eventually(lambda: is_pending(server, signal.SIGSTOP), "the server is told to stop")
        before = is_answered(keeper, within=A_MOMENT)
        gate.open("wb").close()
        answer = answer_of(keeper)
        state = state_of(server)
        say(keeper, signal.SIGCONT)
        answers = [answer, answer_of(keeper)]

    assert not before
    assert state == "T"
    assert answers == [{"code": None}] * 2


def say(keeper: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Let the keeper send its server a signal."""
    assert keeper.stdin is not None
    keeper.stdin.write(f"{json.dumps({'signal': number})}\n")
    keeper.stdin.flush()


def is_answered(keeper: "subprocess.Popen[str]", *, within: float) -> bool:
    """Return whether there is an answer within so many seconds."""
    assert keeper.stdout is not None
    return bool(select.select([keeper.stdout], [], [], within)[0])


def answer_of(keeper: "subprocess.Popen[str]") -> object:
    """Return the next answer."""
    assert keeper.stdout is not None
    return json.loads(keeper.stdout.readline())


def has_child(pid: str) -> bool:
    """Return whether a process has a child."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8") != ""


def state_of(pid: str) -> str:
    """Return what a process does, as one letter: D is a call that is not interrupted, T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def is_pending(pid: str, number: signal.Signals) -> bool:
    """Return whether a process was sent a signal that it has not noticed yet."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (pending,) = (line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) & 1 << (number - 1))
