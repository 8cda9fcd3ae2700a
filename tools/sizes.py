"""Lint: files and functions stay small enough to be read in one go.

`[tool.oncetask.sizes]` in `pyproject.toml` holds the limits, in lines.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.project import ROOT, settings

FORBIDDEN_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "misc"})
Functions = ast.FunctionDef | ast.AsyncFunctionDef


def oversized(root: Path, limits: Mapping[str, int]) -> Iterator[str]:
    """Yield a message for each file and function that is too long, or nested too deeply, and for each drawer."""
    for path in python_files(root):
        name = path.relative_to(root).as_posix()
        yield from _of_file(name, path.read_text(encoding="utf-8"), limits)


def python_files(root: Path) -> list[Path]:
    """Return the Python files of the project: those in folders that are packages or tests, and at the top."""
    folders = [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    below = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted([*root.glob("*.py"), *below])


def _of_file(name: str, source: str, limits: Mapping[str, int]) -> Iterator[str]:
    is_test = name.split("/", maxsplit=1)[0] in {"tests", "conformance_tests"}
    limit = limits["test_file" if is_test else "file"]
    lines = source.count("\n")
    if lines > limit:
        yield f"{name}: {lines} lines; the limit is {limit}"
    if Path(name).stem in FORBIDDEN_NAMES:
        yield f"{name}: a module is named after what it is about"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Functions):
            length = _end(node) - node.lineno + 1
            if length > limits["function"]:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines; the limit is {limits['function']}"


def _end(node: Functions) -> int:
    return node.end_lineno or node.lineno


def main() -> int:
    """Print what is too large; return 1 if anything is."""
    found = list(oversized(ROOT, settings()["sizes"]))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
