"""The test suites, and how thorough they are.

    python -m tools.suites quick|gate [PYTEST ARGUMENT ...]

`[tool.oncetask.efforts]` in `pyproject.toml` holds the environment variables of each effort; the tests' own
defaults are those of the gate.
"""

import sys
from collections.abc import Mapping, Sequence

from tools.commands import guarded, run
from tools.project import settings

PARALLEL = ("-n", "2", "-q")


def variables(effort: str) -> Mapping[str, str]:
    """Return the environment variables that make the tests as thorough as `effort` says."""
    numbers: Mapping[str, str] = settings()["efforts"].get(effort, {})
    return {"ONCETASK_EFFORT": effort, **numbers}


def arguments_of(suite: str) -> list[str]:
    """Return pytest's arguments for a suite: paths, patterns of paths that it leaves out, marks."""
    table = settings()["suites"][suite]
    ignored = [f"--ignore-glob={path}" for path in table.get("ignore", ())]
    marks = ["-m", table["marks"]] if "marks" in table else []
    return [*table["paths"], *ignored, *marks, *PARALLEL]


def pytest_command(python: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs pytest."""
    return [python, "-m", "pytest", *arguments]


def main() -> int:
    """Run a suite at its effort; return pytest's exit code."""
    suite, more = sys.argv[1], sys.argv[2:]
    return run(pytest_command(sys.executable, [*arguments_of(suite), *more]), variables(suite))


if __name__ == "__main__":
    sys.exit(guarded(main))
