"""Branch coverage, and the floor that each part has to reach.

    python -m tools.coverage_floors             runs the tests, then compares
    python -m tools.coverage_floors compare     compares what the last run recorded

The pure modules have every branch covered; `[tool.oncetask.coverage]` in `pyproject.toml` holds the other floors,
in percent, by the path of a file or folder. A folder's floor is that of all its files together. The floors in
`[tool.oncetask.coverage_on_servers]` are asked where the environment names the server that they need.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tools.commands import ToolError, guarded, run
from tools.project import BUILD, ROOT, settings
from tools.pure_modules import pure_paths, rules_of
from tools.suites import arguments_of, pytest_command, variables

PURE_FLOOR = 100.0
REPORT = BUILD / "coverage.json"


class Measured(NamedTuple):
    """What was run of a file: lines and branches, together."""

    covered: int
    total: int
    missing: str = ""

    @property
    def percent(self) -> float:
        """The covered part; of nothing, everything."""
        return 100.0 * self.covered / self.total if self.total else 100.0


def below_floor(measured: Mapping[str, Measured], floors: Mapping[str, float]) -> Iterator[str]:
    """Yield a message for each path that does not reach its floor, or that has no file."""
    for path, floor in floors.items():
        files = {name: found for name, found in measured.items() if name == path or name.startswith(f"{path}/")}
        whole = Measured(sum(found.covered for found in files.values()), sum(found.total for found in files.values()))
        if not files:
            yield f"{path}: no file was measured"
        elif whole.percent < floor:
            missing = ", ".join(f"{name} ({found.missing})" for name, found in files.items() if found.missing)
            yield f"{path}: {whole.percent:.1f} % covered; the floor is {floor:.0f} %; missing: {missing}"


def floors_on_servers(
    table: Mapping[str, Mapping[str, Any]], variables: Mapping[str, str]
) -> tuple[dict[str, float], list[str]]:
    """Return the floors of stores whose servers the environment names, and a message for each of the others."""
    asked = {path: row["floor"] for path, row in table.items() if variables.get(row["server"])}
    left = [f"{path}: not asked, {row['server']} names no server" for path, row in table.items() if path not in asked]
    return asked, left


def read(report: Path) -> dict[str, Measured]:
    """Return what coverage's JSON report says of each file."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    return {name: _measured(found) for name, found in files.items()}


def _measured(found: Mapping[str, object]) -> Measured:
    match found:
        case {
            "summary": {
                "covered_lines": int(lines),
                "num_statements": int(all_lines),
                "covered_branches": int(branches),
                "num_branches": int(all_branches),
            },
            "missing_lines": list(missing),
            "missing_branches": list(partial),
        }:
            places = [str(line) for line in missing] + [f"{start}->{end}" for start, end in partial]
            return Measured(lines + branches, all_lines + all_branches, ", ".join(places))
    raise ToolError(f"coverage wrote a report that cannot be read: {found}")


def measure() -> int:
    """Run the tests with coverage; return pytest's exit code."""
    return run(
        pytest_command(sys.executable, [*arguments_of("gate"), "--cov", "--cov-report="]),
        variables("gate"),
    )


def main() -> int:
    """Measure, unless told to compare only; return 1 if a floor is not reached."""
    if sys.argv[1:] != ["compare"] and (code := measure()):
        return code
    subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", REPORT], cwd=ROOT, check=True)
    pure = dict.fromkeys(pure_paths(ROOT, rules_of(ROOT)), PURE_FLOOR)
    served, left = floors_on_servers(settings()["coverage_on_servers"], os.environ)
    found = list(below_floor(read(REPORT), {**pure, **settings()["coverage"], **served}))
    print(*found, *left, sep="\n")
    print(f"coverage: {len(found)} below their floor" if found else "coverage: every floor is reached")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
