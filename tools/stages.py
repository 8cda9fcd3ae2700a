"""The long test: the suites at full numbers, in stages that are recorded, so that a cut run goes on where it was.

    python -m tools.stages          all stages that have not passed on this tree
    python -m tools.stages fresh    all stages

A stage that passed is recorded under a hash of the tree (tracked and new files, with uncommitted changes): any
change starts over, and returning to a tree finds its record again. Each stage has a Firestore emulator of its own,
unless the environment names one: it never frees what was deleted, and slows down for all that come later.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.commands import Finished, ToolError, guarded, run_watched
from tools.project import BUILD, ROOT, settings
from tools.suites import PARALLEL, pytest_command, variables

FRESH = ("-m", "tools.servers", "run", "--firestore", "--optional", "--")


class Stage(NamedTuple):
    """One part of the long test: a name for its record, and a command."""

    name: str
    command: Sequence[str]
    effort: str = "long"
    """Whose numbers it plays with; everything at full numbers under coverage would take hours."""


class Result(NamedTuple):
    """How a stage ended, and how long it took."""

    name: str
    code: int
    seconds: float
    summary: str
    earlier: bool = False
    """It passed in an earlier run on the same tree."""

    def __str__(self) -> str:
        verdict = "failed" if self.code else "passed earlier" if self.earlier else "passed"
        return f"{self.name:<32} {verdict:<14} {self.seconds:7.1f} s  {self.summary}"


class Records:
    """The results of the stages that passed on one tree."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> Result | None:
        """Return the recorded result of a stage; a record that was cut off while it was written is none."""
        try:
            fields = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Result(**fields)._replace(earlier=True)

    def keep(self, result: Result) -> None:
        """Record that a stage passed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(result.name).write_text(json.dumps(result._asdict()), encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '.')}.json"


def tree_hash(root: Path) -> str:
    """Return a hash of every file that git tracks or would track: path, mode and content."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=root, capture_output=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"The tree has no hash: {done.stderr.decode(errors='replace').strip()}")
    digest = hashlib.sha256()
    for name in sorted(set(done.stdout.decode().split("\0")) - {""}):
        path = root / name
        content = path.read_bytes() if path.is_file() else b""
        mode = path.stat().st_mode if path.exists() else 0
        digest.update(f"{name}\0{mode:o}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def stages(root: Path, python: str) -> list[Stage]:
    """Return the stages: every folder of tests and every binding of the conformance suite, then what else counts."""
    limit = f"--timeout={settings()['stages']['test_timeout']}"
    folders = [path for path in sorted((root / "tests").iterdir()) if any(path.glob("test_*.py"))]
    bindings = sorted((root / "conformance_tests").glob("test_*.py"))
    paths = [path.relative_to(root).as_posix() for path in [*folders, *bindings]]
    tests = [Stage(path, pytest_command(python, [path, *PARALLEL, limit])) for path in paths]
    modules = [Stage(module, [python, "-m", module], effort="gate") for module in settings()["stages"]["modules"]]
    return [stage._replace(command=[python, *FRESH, *stage.command]) for stage in (*tests, *modules)]


def play(plan: Sequence[Stage], records: Records, runner: Callable[[Stage], Finished]) -> list[Result]:
    """Run the stages that are not recorded, also after one that failed; return the result of each."""
    return [records.find(stage.name) or _run(stage, records, runner) for stage in plan]


def _run(stage: Stage, records: Records, runner: Callable[[Stage], Finished]) -> Result:
    print(f"--- {stage.name}", flush=True)
    started = time.monotonic()
    finished = runner(stage)
    result = Result(stage.name, finished.code, round(time.monotonic() - started, 1), finished.summary)
    if result.code == 0:
        records.keep(result)
    return result


def main() -> int:
    """Run the long test; return 1 if a stage failed."""
    records = BUILD / "long" / tree_hash(ROOT)[:16]
    if sys.argv[1:] == ["fresh"]:
        for record in records.glob("*.json"):
            record.unlink()
    plan = stages(ROOT, sys.executable)
    results = play(plan, Records(records), lambda stage: run_watched(stage.command, variables(stage.effort)))
    print(f"--- all stages, {sum(result.seconds for result in results) / 60:.1f} minutes")
    for result in results:
        print(result)
    return 1 if any(result.code for result in results) else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
