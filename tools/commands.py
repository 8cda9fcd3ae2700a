"""Running a module of the project as a process that leaves nothing behind outside the checkout.

    python -m tools.commands MODULE [ARGUMENT ...]

Temporary files go to a private folder, which is removed at the end, also after SIGTERM, SIGHUP or Ctrl-C.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tools.project import ROOT

SUMMARY = re.compile(r"^(=+ )?(no tests ran|\d+ (passed|failed|skipped|error|xfailed|warning|deselected)).* in [\d.]+s")
OUTSIDE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")


class ToolError(Exception):
    """A tool cannot go on; the message is for the person who started it."""


class Finished(NamedTuple):
    """How a command ended: its exit code, and pytest's summary line if it printed one."""

    code: int
    summary: str


@contextmanager
def private_folder() -> Iterator[dict[str, str]]:
    """Yield the environment variables for processes whose temporary files go to a folder that is removed."""
    kept = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    with tempfile.TemporaryDirectory(prefix="oncetask-", ignore_cleanup_errors=True) as folder:
        yield kept | {"TMPDIR": folder}


def run(command: Sequence[str], variables: Mapping[str, str] | None = None) -> int:
    """Run a command in the checkout, with its output on ours; return its exit code."""
    sys.stdout.flush()
    with private_folder() as surroundings:
        return subprocess.run(command, cwd=ROOT, env=surroundings | dict(variables or {}), check=False).returncode


def run_watched(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Finished:
    """Run a command in the checkout and pass its output on, line by line, looking for pytest's summary."""
    summary = ""
    with (
        private_folder() as surroundings,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=surroundings | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if SUMMARY.match(line):
                summary = line.strip().strip("= ")
    return Finished(process.returncode, summary)


def guarded(main: Callable[[], int]) -> int:
    """Run a tool: SIGTERM or the end of its terminal ends it in order; a `ToolError` is printed without a traceback."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as `nohup` wants it
            signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    try:
        return main()
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def main() -> int:
    """Run the module that the arguments name."""
    return run([sys.executable, "-m", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(guarded(main))
