"""Resolves `requirements-dev.lock` anew: the newest versions that fit `pyproject.toml`, in a new environment."""

import shutil
import subprocess
import sys

from tools.commands import guarded
from tools.environment import Environment, ensure
from tools.project import BUILD, LOCK

HEAD = """\
# The exact versions that the Makefile installs for development, for every supported Python.
# `make lock` resolves them anew from pyproject.toml.
"""


def main() -> int:
    """Write the lock file."""
    folder = BUILD / "venvs" / "resolving"
    shutil.rmtree(folder, ignore_errors=True)
    environment = Environment(folder, sys.executable, "dev", pins="")
    python = ensure(environment)
    freeze = [str(python), "-m", "pip", "freeze", "--exclude", "oncetask"]
    LOCK.write_text(HEAD + subprocess.run(freeze, capture_output=True, text=True, check=True).stdout, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
