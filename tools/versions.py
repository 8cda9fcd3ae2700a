"""The tests on each supported Python that is here, and once on the lowest versions of the dependencies.

    python -m tools.versions [NAME ...]     by default all: 3.11 3.12 3.13 lowest

An interpreter is used if it starts and has the modules that the project needs, which a shim that points nowhere
has not. A version without an interpreter is skipped, and says so.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.commands import ToolError, guarded, run_watched
from tools.environment import Environment, ensure
from tools.project import BUILD, LOCK, pyproject
from tools.suites import arguments_of, pytest_command, variables

SUPPORTED = ("3.11", "3.12", "3.13")
LOWEST = "lowest"
LOWERED_EXTRAS = ("conformance", "postgres", "mysql", "firestore")
PROBE = "import ctypes, ensurepip, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[(?P<extra>[a-z]+)\])?>=(?P<version>\d[A-Za-z0-9.]*)")


class Outcome(NamedTuple):
    """What became of one version."""

    name: str
    failed: bool
    text: str

    def __str__(self) -> str:
        return f"{self.name:<8} {self.text}"


def candidates(version: str, *, path: str, home: Path) -> Iterator[Path]:
    """Yield where an interpreter of a version (`3.12`) may be: on the PATH, then among pyenv's."""
    yield from (Path(folder) / f"python{version}" for folder in path.split(os.pathsep) if folder)
    yield from sorted((home / ".pyenv" / "versions").glob(f"{version}.*/bin/python{version}"), reverse=True)


def starts(interpreter: Path, version: str) -> bool:
    """Tell whether an interpreter starts, has the modules that the project needs, and is of the version."""
    try:
        done = subprocess.run([interpreter, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def lowered(pins: str, requirements: Sequence[str]) -> str:
    """Return the pins with each required package at its lowest version, and so the package of its extra.

    Raises:
        ToolError: A requirement has no lowest version.
    """
    lowest = {name: version for requirement in requirements for name, version in _lowest_of(requirement)}
    kept = [line for line in pins.splitlines() if _normal(line.partition("==")[0]) not in lowest]
    return "\n".join([*kept, *(f"{name}=={version}" for name, version in lowest.items())]) + "\n"


def _lowest_of(requirement: str) -> Iterator[tuple[str, str]]:
    match = REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise ToolError(f"{requirement!r} in pyproject.toml has no lowest version: write it as name>=version")
    yield _normal(match["name"]), match["version"]
    if match["extra"]:
        yield _normal(f"{match['name']}-{match['extra']}"), match["version"]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment_of(name: str, interpreter: Path) -> Environment:
    """Return the environment for a version, or for the lowest versions of the dependencies."""
    pins = LOCK.read_text(encoding="utf-8")
    if name == LOWEST:
        project = pyproject()["project"]
        extras = [project["optional-dependencies"][extra] for extra in LOWERED_EXTRAS]
        pins = lowered(pins, [requirement for group in (project["dependencies"], *extras) for requirement in group])
    return Environment(BUILD / "venvs" / name, str(interpreter), "test", pins)


def outcome_of(name: str, interpreters: Mapping[str, Path]) -> Outcome:
    """Run the tests on a version, if its interpreter is here."""
    version = SUPPORTED[0] if name == LOWEST else name
    if version not in interpreters:
        return Outcome(name, failed=False, text=f"skipped: no Python {version} that starts, on the PATH or in ~/.pyenv")
    print(f"--- {name}: {interpreters[version]}", flush=True)
    started = time.monotonic()
    python = str(ensure(environment_of(name, interpreters[version])))
    done = run_watched(pytest_command(python, arguments_of("versions")), variables("versions"))
    verdict = "failed" if done.code else "passed"
    return Outcome(name, failed=bool(done.code), text=f"{verdict} {time.monotonic() - started:6.1f} s  {done.summary}")


def main() -> int:
    """Run the tests on every version; return 1 if one failed or none was here."""
    names = sys.argv[1:] or [*SUPPORTED, LOWEST]
    found = {
        version: next(
            (path for path in candidates(version, path=os.environ["PATH"], home=Path.home()) if starts(path, version)),
            None,
        )
        for version in SUPPORTED
    }
    interpreters = {version: path for version, path in found.items() if path is not None}
    outcomes = [outcome_of(name, interpreters) for name in names]
    print(*outcomes, sep="\n")
    if not interpreters:
        raise ToolError(f"None of Python {', '.join(SUPPORTED)} starts here")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
