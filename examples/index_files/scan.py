"""Which files are indexed."""

import hashlib
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from oncetask import ConfigurationError

SKIPPED = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib"}
LARGEST = 400_000


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a tree."""

    root: str
    path: str
    folder: str
    digest: str


def found_below(path: Path | None) -> list[Found]:
    """Return the files below a directory, or those of the default trees.

    Raises:
        ConfigurationError: It is no directory, or none of the files in it is to be indexed.
    """
    if path is not None and not path.is_dir():
        raise ConfigurationError(
            value=str(path),
            rule="what is indexed is a directory that exists",
            remedy="Name one, or none for this project and the standard library.",
        )
    trees = default_trees() if path is None else [(path.resolve(), None)]
    found = [file for root, files in trees for file in scan(root, files)]
    if not found:
        raise ConfigurationError(
            value=str(path),
            rule=f"a tree to index has a file of at most {LARGEST:,} bytes, in no folder that is hidden or skipped",
            remedy=f"Name another; skipped are {', '.join(sorted(SKIPPED))}.",
        )
    return found


def scan(root: Path, files: Iterable[Path] | None = None) -> Iterator[Found]:
    """Yield the readable files below `root`, each with its top-level folder and a digest of its content."""
    for file in sorted(_walk(root) if files is None else files):
        relative = file.relative_to(root)
        folder = f"{root.name}/{relative.parts[0]}" if len(relative.parts) > 1 else root.name
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        yield Found(root=str(root), path=str(relative), folder=folder, digest=digest)


def default_trees() -> list[tuple[Path, list[Path] | None]]:
    """Return this project's tracked files and the installed standard library."""
    here = Path(__file__).resolve().parents[2]
    return [(here, _tracked(here)), (Path(sysconfig.get_paths()["stdlib"]), None)]


def _tracked(root: Path) -> list[Path] | None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [root / name for name in names if (root / name).is_file()] or None


def _walk(root: Path) -> Iterator[Path]:
    for file in root.rglob("*"):
        inside = file.relative_to(root).parts
        hidden = any(part in SKIPPED or part.startswith(".") for part in inside)
        if not hidden and file.is_file() and not file.is_symlink() and file.stat().st_size <= LARGEST:
            yield file
