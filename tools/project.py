"""Where the project is, and what its `pyproject.toml` says. Needs nothing but Python."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
LOCK = ROOT / "requirements-dev.lock"


def pyproject(root: Path = ROOT) -> Mapping[str, Any]:
    """Return the parsed `pyproject.toml`."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def settings(root: Path = ROOT) -> Mapping[str, Any]:
    """Return the table `[tool.oncetask]`: the settings of these tools."""
    found: Mapping[str, Any] = pyproject(root)["tool"]["oncetask"]
    return found
