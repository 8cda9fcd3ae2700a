"""Processes that leave nothing behind, and pytest's summary line."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.commands import SUMMARY, private_folder, run_watched
from tools.project import ROOT

LEAVING = "import pathlib, tempfile; print(tempfile.mkdtemp())"


def test_temporary_files_are_removed_with_their_folder() -> None:
    """What the process writes to its temporary folder is gone afterwards."""
    with private_folder() as variables:
        done = subprocess.run(
            [sys.executable, "-c", LEAVING], env=variables, capture_output=True, text=True, check=True
        )
        left = Path(done.stdout.strip())
        existed = left.exists()

    assert existed
    assert not left.exists()
    assert not left.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_tool_removes_its_folder(number: signal.Signals) -> None:
    """The signal ends the process that was started, and the folder goes with it."""
    source = "import sys, tempfile, time; print(tempfile.gettempdir(), flush=True); time.sleep(60)"
    program = f"from tools.commands import *; signal.signal({number}, signal.SIG_DFL); "
    program += f"sys.exit(guarded(lambda: run([sys.executable, '-c', {source!r}])))"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        folder = Path(tool.stdout.readline().strip())
        existed = folder.exists()
        tool.send_signal(number)
        tool.wait(timeout=30)

    assert existed
    assert tool.returncode == 128 + number
    assert not folder.exists()


def test_the_environment_of_the_caller_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PYTHONPATH of the person who runs the tests decides nothing."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")

    with private_folder() as variables:
        assert "PYTHONPATH" not in variables


def test_the_summary_of_pytest_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    """Output is passed on as it comes; the exit code and the summary line are returned."""
    source = "import sys; print('dots'); print('3 failed, 12 passed in 4.56s'); sys.exit(1)"

    finished = run_watched([sys.executable, "-c", source])

    assert finished == (1, "3 failed, 12 passed in 4.56s")
    assert capfd.readouterr().out == "dots\n3 failed, 12 passed in 4.56s\n"


def test_output_arrives_while_the_process_runs() -> None:
    """A long stage shows what it does."""
    source = "print('first', flush=True); input()"
    program = f"from tools.commands import *; run_watched([sys.executable, '-c', {source!r}])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as tool:
        assert tool.stdout is not None
        line = tool.stdout.readline()
        still_runs = tool.poll() is None
        tool.communicate("\n")

    assert (line, still_runs) == ("first\n", True)


@pytest.mark.parametrize(
    "line",
    [
        "35 passed in 8.65s",
        "1 failed, 2 passed, 3 skipped in 125.10s (0:02:05)",
        "======= 2 passed, 1 warning in 0.10s =======",
        "no tests ran in 0.01s",
        "1 error in 0.30s",
    ],
)
def test_summary_lines_are_recognised(line: str) -> None:
    """Quiet or not, failed or not."""
    assert SUMMARY.match(line)


def test_other_lines_are_no_summary() -> None:
    """A test's own output is not mistaken for it."""
    assert not SUMMARY.match("5 tasks settled in 3.0s")
