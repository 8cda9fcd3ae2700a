"""`python -m oncetask worker module:manager`."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from oncetask import ConfigurationError
from oncetask_core.main import find_manager, main

ENOUGH = 60.0
APPLICATION = """
import asyncio, contextlib, pathlib, sys, time
from dataclasses import dataclass
from typing import ClassVar
from oncetask import OnceTask, TaskData, TaskManager

@dataclass(frozen=True)
class Slow(TaskData[str]):
    kind: ClassVar[str] = "slow"
    name: str
    def idempotent_id(self) -> str:
        return self.name

manager = TaskManager("sqlite:///tasks.db")
not_a_manager = 7

@manager.task_handler(Slow)
async def slow(task: OnceTask[Slow]) -> str:
    pathlib.Path("started").touch()
    if task.data.name == "blocks a thread":
        await asyncio.to_thread(time.sleep, 600)
    while task.data.name == "ignores being cancelled":
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
    await asyncio.sleep(0.5)  # work that a first signal lets end
    return "done"

if __name__ == "__main__":
    asyncio.run(manager.create_task(Slow(sys.argv[1])))
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an application module in it, as the working folder."""
    (tmp_path / "application.py").write_text(APPLICATION, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "application", raising=False)
    return tmp_path


def worker_on(task_id: str, folder: Path) -> "subprocess.Popen[str]":
    """Return a worker process that has begun with a task."""
    subprocess.run([sys.executable, "application.py", task_id], check=True)
    command = [sys.executable, "-m", "oncetask", "worker", "application:manager"]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + ENOUGH
    while not (folder / "started").exists():
        assert time.monotonic() < deadline, "the worker did not start the task"
        time.sleep(0.02)
    return worker


def test_a_worker_drains_on_sigterm(application: Path) -> None:
    """The handler that runs when SIGTERM arrives finishes, and the process ends with 0."""
    with worker_on("a", application) as worker:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=ENOUGH)

    assert worker.returncode == 0
    check = "import asyncio; from application import manager; print(asyncio.run(manager.wait('a', timeout=1)))"
    seen = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "done"


@pytest.mark.parametrize("task_id", ["blocks a thread", "ignores being cancelled"])
def test_a_second_signal_ends_a_worker_whose_handler_does_not(application: Path, task_id: str) -> None:
    """The task is given back, nothing charged, and the process ends and says why it did not wait."""
    with worker_on(task_id, application) as worker:
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        _, said = worker.communicate(timeout=ENOUGH)

    assert worker.returncode == 0
    assert "does not stop" in said
    with closing(sqlite3.connect(application / "tasks.db")) as connection:
        row = connection.execute("SELECT outcome, lease_uid, failures, crashes FROM oncetask_task").fetchone()
    assert row == (None, None, 0, 0)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nonsense", "module:attribute"),
        ("no_such_module:manager", "can be imported"),
        ("application:nobody", "has this attribute"),
        ("application:not_a_manager", "is a TaskManager"),
    ],
)
def test_a_wrong_reference_is_explained(application: Path, reference: str, says: str) -> None:
    """What is wrong with the name of the manager is said."""
    with pytest.raises(ConfigurationError, match=says):
        find_manager(reference)


def test_a_mistake_ends_with_code_2(application: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line prints the error and ends with 2."""
    assert main(["worker", "nonsense"]) == 2
    assert "oncetask: a manager is named as module:attribute" in capsys.readouterr().err
