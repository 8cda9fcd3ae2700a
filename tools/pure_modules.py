"""Lint: the modules of the core that decide are pure. Values come in, values go out.

All modules of the package are pure but those that `[tool.oncetask.pure]` in `pyproject.toml` lists as impure.
A pure module has no `async` (a protocol may declare coroutines), imports nothing that reaches a clock, chance,
files, the network, threads or logs, calls nothing that reads the time or opens a file, and imports no impure
module of the package.
"""

import ast
import sys
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tools.project import ROOT, settings

FORBIDDEN_CALLS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval", "__import__"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp"})
CLOCK_TYPES = frozenset({"datetime", "date"})


class Rules(NamedTuple):
    """What the settings say: the package, the patterns of its impure modules, the imports that pure ones lack."""

    package: str
    impure: Collection[str]
    forbidden_imports: Collection[str]
    """Modules, with all that is in them."""
    allowed_imports: Collection[str]
    """Exceptions: harmless names of forbidden modules, such as `uuid.UUID`."""

    def is_pure(self, path: str) -> bool:
        """Tell whether a module, by its path below the package (`worker/slots.py`), has to be pure."""
        return not any(fnmatch(path, pattern) for pattern in self.impure)

    def forbids(self, name: str) -> bool:
        """Tell whether a pure module may not import this name (`time`, `time.sleep`)."""
        forbidden = any(f"{name}.".startswith(f"{module}.") for module in self.forbidden_imports)
        return forbidden and name not in self.allowed_imports


class Violation(NamedTuple):
    """One line of a pure module that is not pure."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def violations(root: Path, rules: Rules) -> list[Violation]:
    """Return what is impure in the pure modules of the package below `root`, and what the settings list in vain."""
    package = root / rules.package
    paths = {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}
    stale = [pattern for pattern in rules.impure if not any(fnmatch(path, pattern) for path in paths)]
    found = [Violation("pyproject.toml", 0, f"impure lists {pattern!r}, which no module matches") for pattern in stale]
    for name, path in paths.items():
        if rules.is_pure(name):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            shown = f"{rules.package}/{name}"
            found += [Violation(shown, line, message) for line, message in _impurities(tree, rules, set(paths))]
    return found


def _impurities(tree: ast.Module, rules: Rules, modules: Collection[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() if not _is_declaration(node):
                yield node.lineno, f"a pure module has no async: {node.name}"
            case ast.comprehension(is_async=1):
                yield node.target.lineno, "a pure module has no async comprehension"
            case ast.Import() | ast.ImportFrom():
                yield from ((node.lineno, message) for message in _imports(node, rules, modules))
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                yield node.lineno, f"a pure module does not call {name}()"
            case ast.Attribute(attr=name, value=owner) if name in CLOCK_METHODS and _last_name(owner) in CLOCK_TYPES:
                yield node.lineno, f"a pure module does not read the clock: {_last_name(owner)}.{name}"


def _is_declaration(function: ast.AsyncFunctionDef) -> bool:
    """Tell whether a function has no body but its docstring and `...`, as in a protocol."""
    return all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in function.body)


def _imports(node: ast.Import | ast.ImportFrom, rules: Rules, modules: Collection[str]) -> Iterator[str]:
    for name in _imported(node):
        if rules.forbids(name):
            yield f"a pure module does not import {name}"
        module = _module_path(name, rules.package, modules)
        if module is not None and not rules.is_pure(module):
            yield f"a pure module does not import the impure {name}"


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return what is imported, by its full name: `from a import b` is `a.b`, be it a module or what is in one."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        return names
    return [f"{'.' * node.level}{node.module or ''}.{name}" for name in names]


def _module_path(name: str, package: str, modules: Collection[str]) -> str | None:
    """Return the path of the module that an import loads: the longest part of the name that is a module."""
    parts = name.split(".")
    if parts[0] != package:
        return None
    paths = ("/".join(parts[1:end]) for end in range(len(parts), 1, -1))
    return next((found for path in paths for found in (f"{path}.py", f"{path}/__init__.py") if found in modules), None)


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def rules_of(root: Path) -> Rules:
    """Return the rules in the project's settings."""
    return Rules(**settings(root)["pure"])


def pure_paths(root: Path, rules: Rules) -> list[str]:
    """Return the paths of all pure modules, relative to `root`."""
    package = root / rules.package
    paths = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return [f"{rules.package}/{path}" for path in paths if rules.is_pure(path)]


def main(root: Path = ROOT) -> int:
    """Print every violation; return 1 if there is one."""
    rules = rules_of(root)
    found = violations(root, rules)
    for violation in found:
        print(violation, file=sys.stderr)
    if not found:
        print(f"{len(pure_paths(root, rules))} pure modules in {rules.package}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
