"""The lint rule for pure modules."""

from pathlib import Path

import pytest

from tools.project import ROOT
from tools.pure_modules import Rules, pure_paths, rules_of, violations

RULES = Rules(
    package="core",
    impure=["worker/*", "clock.py"],
    forbidden_imports=["asyncio", "time", "uuid"],
    allowed_imports=["uuid.UUID"],
)


def found_in(source: str, folder: Path, *, at: str = "deciding.py") -> list[str]:
    """Return the violations of a package whose module at `at` has this source."""
    for path, text in {"clock.py": "", "worker/loop.py": "", "values.py": "", "__init__.py": "", at: source}.items():
        file = folder / "core" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [str(violation) for violation in violations(folder, RULES)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import time", "a pure module does not import time"),
        ("import asyncio.events", "a pure module does not import asyncio.events"),
        ("from time import sleep", "a pure module does not import time.sleep"),
        ("from uuid import UUID, uuid4", "a pure module does not import uuid.uuid4"),
        ("def f():\n    import time", "a pure module does not import time"),
        ("async def f():\n    return 1", "a pure module has no async: f"),
        ("x = (i async for i in y)", "a pure module has no async comprehension"),
        ("x = open('file')", "a pure module does not call open()"),
        ("x = datetime.now(UTC)", "a pure module does not read the clock: datetime.now"),
        ("x = datetime.datetime.utcnow()", "a pure module does not read the clock: datetime.utcnow"),
        ("x = date.today()", "a pure module does not read the clock: date.today"),
        ("import core.clock", "a pure module does not import the impure core.clock"),
        ("from core.clock import Clock", "a pure module does not import the impure core.clock.Clock"),
        ("from core import clock", "a pure module does not import the impure core.clock"),
        ("from core.worker.loop import run", "a pure module does not import the impure core.worker.loop.run"),
    ],
)
def test_what_is_not_pure_is_reported(source: str, message: str, tmp_path: Path) -> None:
    """Each impurity is named with the module and the line."""
    found = found_in(source, tmp_path)

    assert [line.partition(": ")[2] for line in found] == [message]
    assert found[0].startswith("core/deciding.py:")


@pytest.mark.parametrize(
    "source",
    [
        "from uuid import UUID",
        "from datetime import datetime\nx = datetime.max",
        "from core.values import Value",
        "import timeit",
        "class Port(Protocol):\n    async def get(self) -> None:\n        '''Say so.'''\n        ...",
        "x = policy.now",
    ],
)
def test_what_is_pure_passes(source: str, tmp_path: Path) -> None:
    """Values, declared coroutines and other pure modules are allowed."""
    assert found_in(source, tmp_path) == []


def test_impure_modules_may_do_everything(tmp_path: Path) -> None:
    """A module that is listed as impure is not read."""
    assert found_in("import time\nasync def f():\n    return 1", tmp_path, at="worker/loop.py") == []


def test_a_pattern_without_a_module_is_reported(tmp_path: Path) -> None:
    """A module that is gone leaves no exception behind."""
    stale = RULES._replace(impure=[*RULES.impure, "gone.py"])
    found_in("", tmp_path)

    assert [violation.message for violation in violations(tmp_path, stale)] == [
        "impure lists 'gone.py', which no module matches"
    ]


def test_modules_are_pure_unless_listed() -> None:
    """In this project a new module of the core is pure, and the deciding ones are."""
    paths = pure_paths(ROOT, rules_of(ROOT))

    assert rules_of(ROOT).is_pure("something_new.py")
    assert {f"oncetask_core/{name}.py" for name in ("task", "status", "seats", "retry", "limits")} <= set(paths)
    assert any(path.startswith("oncetask_core/decisions/") for path in paths)
