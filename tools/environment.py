"""Virtual environments inside the checkout, made when they are missing and mended when they are out of date.

    python -m tools.environment            makes .venv, with everything that development needs

Each carries a stamp: a hash of what was asked of it. An environment whose stamp still fits is left alone, so
this is cheap enough to run before every target. It runs on any Python that has `venv`, without the environment.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tools.commands import ToolError, guarded, private_folder
from tools.project import BUILD, LOCK, ROOT, pyproject

OLDEST = (3, 11)
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
SHAPING = ("build-system", "project")


class Environment(NamedTuple):
    """What an environment has to hold."""

    folder: Path
    interpreter: str
    """The Python that makes it, if it has to be made."""
    extra: str
    """The extra of this project that is installed, in editable form."""
    pins: str
    """Exact versions, as pip's constraints."""

    @property
    def python(self) -> Path:
        """The environment's own Python."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that holds the hash of what was installed."""
        return self.folder / "oncetask.stamp"


def development() -> Environment:
    """Return the environment of everybody who works on the project."""
    return Environment(ROOT / ".venv", sys.executable, "dev", LOCK.read_text(encoding="utf-8"))


def ensure(environment: Environment) -> Path:
    """Make the environment fit if it does not; return its Python.

    Raises:
        ToolError: It cannot be made.
    """
    with _one_at_a_time():
        wanted = fingerprint(environment)
        if not (_stamp(environment) == wanted and _starts(environment.python, "-c", "pass")):
            print(f"preparing {environment.folder.relative_to(ROOT)}: this takes half a minute", file=sys.stderr)
            _make(environment)
            environment.stamp.write_text(wanted, encoding="utf-8")
    return environment.python


def fingerprint(environment: Environment) -> str:
    """Return a hash of all that decides what is installed; the tools' settings in `pyproject.toml` do not."""
    metadata = {table: pyproject()[table] for table in SHAPING}
    hatch = pyproject()["tool"]["hatch"]
    facts = [environment.extra, environment.pins, str(ROOT), metadata, hatch]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "environment.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(environment: Environment) -> str:
    return environment.stamp.read_text(encoding="utf-8") if environment.stamp.exists() else ""


def _starts(python: Path, *arguments: str) -> bool:
    try:
        return subprocess.run([python, *arguments], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make(environment: Environment) -> None:
    environment.stamp.unlink(missing_ok=True)
    if not _starts(environment.python, *PIP, "--version"):
        _run([environment.interpreter, "-m", "venv", "--clear", str(environment.folder)])
    with private_folder() as variables:
        pins = Path(variables["TMPDIR"]) / "pins.txt"
        pins.write_text(environment.pins, encoding="utf-8")
        install = [str(environment.python), *PIP, "install", "--quiet", "--constraint", str(pins)]
        _run([*install, "hatchling", "editables"], variables)
        _run([*install, "--no-build-isolation", "--editable", f"{ROOT}[{environment.extra}]"], variables)


def _run(command: list[str], variables: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise ToolError(f"{done.stdout}\nThe command failed: {' '.join(command)}")


def main() -> int:
    """Make the development environment."""
    if sys.version_info < OLDEST:
        raise ToolError(f"Python {sys.version.split()[0]} is too old: set PYTHON to Python 3.11 or newer")
    ensure(development())
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
