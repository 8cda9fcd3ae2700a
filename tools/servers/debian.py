"""Debian's packages, unpacked inside the checkout: nothing is installed, and later runs need no network.

With a package come those that it needs and the system has not. Only `apt-get` is asked; what it writes goes to a
folder of ours. Its lists are the system's, unless they lead nowhere: then lists of our own are fetched.
"""

import fcntl
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tools.commands import ToolError
from tools.project import BUILD
from tools.servers.installation import Installation

INSTALLED = Path("/var/lib/dpkg/status")
PLANNED = re.compile(r"^Inst (?P<name>\S+)", re.MULTILINE)
SECONDS = 300


class Apt(NamedTuple):
    """`apt-get`, with what it writes below a folder; with `lists`, also the lists of packages that it reads."""

    folder: Path
    lists: bool = False

    def run(self, *arguments: str) -> str:
        """Run it in the folder; return what it prints.

        Raises:
            ToolError: It fails.
        """
        cache, state = self.folder / "cache", self.folder / "state"
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        options = {"Dir::Cache": str(cache), "APT::Sandbox::User": "root", "Acquire::Retries": "2"}
        if self.lists:
            (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            options |= {"Dir::State": str(state), "Dir::State::status": str(INSTALLED)}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return _run(["apt-get", *words, *arguments], self.folder)


def unpacked(package: str, folder: Path) -> Path:
    """Return the folder with an unpacked package and what it needs; the first call downloads them.

    Raises:
        ToolError: They cannot be had.
    """
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as scratch:
                _unpack(package, Path(scratch)).rename(folder)
    return folder


def unpacked_mariadb(folder: Path = BUILD / "mariadb") -> Path:
    """Return the folder with MariaDB, unpacked.

    Raises:
        ToolError: It cannot be had.
    """
    return unpacked("mariadb-server-core", folder)


def unpacked_pgbouncer(folder: Path = BUILD / "pgbouncer") -> Path:
    """Return the folder with pgbouncer, unpacked.

    Raises:
        ToolError: It cannot be had.
    """
    return unpacked("pgbouncer", folder)


def below(root: Path, program: Path) -> Installation:
    """Return the installation of a program in the folder of an unpacked package, with the libraries beside it."""
    libraries = [*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")]
    return Installation(root, program, libraries=tuple(folder.relative_to(root) for folder in libraries))


def _unpack(package: str, scratch: Path) -> Path:
    root = scratch / "root"
    root.mkdir()
    for file in download(package, scratch):
        _run(["dpkg-deb", "--extract", str(file), str(root)], scratch)
    root.chmod(0o755)
    return root


def download(package: str, scratch: Path) -> list[Path]:
    """Download a package and what it needs with the system's lists, or else with new ones; return their files.

    Raises:
        ToolError: Neither leads to them.
    """
    try:
        return _download(package, Apt(scratch))
    except ToolError:
        private = Apt(scratch, lists=True)
        private.run("update")
        return _download(package, private)


def _download(package: str, apt: Apt) -> list[Path]:
    plan = apt.run("--simulate", "--no-install-recommends", "install", package)
    apt.run("download", *PLANNED.findall(plan))
    return sorted(apt.folder.glob("*.deb"))


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(f"there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} did not end within {SECONDS} s") from error
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command)} failed: {done.stdout.strip()}")
    return done.stdout
