"""The programs of a server, and whether they will do."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.commands import ToolError
from tools.servers.homes import Account, reachable

ASK_SECONDS = 120


class UnfitError(ToolError):
    """An installation will not do."""


class BrokenError(UnfitError):
    """An installation does not start."""


@dataclass(frozen=True)
class Installation:
    """The programs of a server, in a folder that works wherever it is copied to."""

    root: Path
    program: Path
    """The server itself, below `root`."""
    parts: tuple[Path, ...] = (Path(),)
    """The folders below `root` that it needs."""
    libraries: tuple[Path, ...] = ()
    """Folders below `root` with shared libraries that the system does not have."""

    @property
    def server(self) -> Path:
        """The path of the server itself."""
        return self.root / self.program

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment for its programs: the same on every machine."""
        found = os.pathsep.join(str(self.root / folder) for folder in self.libraries)
        return {"PATH": os.defpath, "LC_ALL": "C"} | ({"LD_LIBRARY_PATH": found} if found else {})

    def reachable(self, who: Account | None) -> bool:
        """Tell whether an account may run the server where it is."""
        return reachable(self.server, who)

    def copied(self, folder: Path) -> "Installation":
        """Return a copy of the installation, in a new folder."""
        for part in self.parts:
            shutil.copytree(self.root / part, folder / part, symlinks=True)
        return replace(self, root=folder)


@dataclass(frozen=True)
class Requirement:
    """What the version of a server has to be."""

    says: re.Pattern[str]
    """How the server introduces itself; the groups are the numbers of its version."""
    oldest: tuple[int, ...]

    def check(self, installation: Installation) -> None:
        """Return if an installation will do.

        Raises:
            UnfitError: It is another program, or too old.
            BrokenError: It does not start.
        """
        program = installation.server
        done = _asked(installation)
        match = self.says.search(done.stdout)
        if match is None:
            wrong = UnfitError if done.returncode == 0 else BrokenError
            raise wrong(f"{program} says what it should not: {done.stdout.strip()}")
        version = tuple(int(number) for number in match.groups())
        if version < self.oldest:
            raise UnfitError(f"{program} has version {_dotted(version)}, older than {_dotted(self.oldest)}")


def _asked(installation: Installation) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            [installation.server, "--version"],
            env=installation.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokenError(f"{installation.server} does not start: {error}") from error


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version)
