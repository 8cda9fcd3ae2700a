"""Everything that is decided without running the code.

    python -m tools.check           format, lint, types, import contracts, pure modules, sizes, text
    python -m tools.check lite      the same without types and import contracts, in a few seconds

Every check runs, also after one that failed.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.commands import guarded, run

BIN = Path(sys.executable).parent
LITE: Mapping[str, Sequence[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "lint": [str(BIN / "ruff"), "check", "--quiet", "."],
    "pure modules": [sys.executable, "-m", "tools.pure_modules"],
    "sizes": [sys.executable, "-m", "tools.sizes"],
    "text": [sys.executable, "-m", "tools.text"],
}
SLOW: Mapping[str, Sequence[str]] = {
    "types": [str(BIN / "mypy"), "."],
    "import contracts": [str(BIN / "lint-imports"), "--no-cache", "--no-logo"],
}


def main() -> int:
    """Run the checks; return 1 if one failed."""
    checks = LITE if sys.argv[1:] == ["lite"] else {**LITE, **SLOW}
    failed = [name for name, command in checks.items() if _fails(name, command)]
    print(f"check: {'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return 1 if failed else 0


def _fails(name: str, command: Sequence[str]) -> bool:
    started = time.monotonic()
    code = run(command)
    print(f"{name:<17} {'failed' if code else 'passed'} {time.monotonic() - started:6.1f} s", flush=True)
    return code != 0


if __name__ == "__main__":
    sys.exit(guarded(main))
