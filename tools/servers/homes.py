"""Where a server's data go, and whom it runs as.

Without durability the data go to memory, if there is a file system for that with room enough: what no test will ever
read again is not written to a disk, and two parallel suites do not wait for the same one. With durability they go to
a disk, because fsync means nothing in memory.
"""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tools.servers.errors import ServerFailedError

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the home itself is made by mkdtemp
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - likewise
MEMORY_TYPES = frozenset({"tmpfs", "ramfs"})
MOUNTS = Path("/proc/self/mountinfo")
NOEXEC: int = getattr(os, "ST_NOEXEC", 0)  # macOS has no such flag
FREE_BYTES = 512 * 2**20


class Account(NamedTuple):
    """A user and a group, by their numbers."""

    user: int
    group: int


def account() -> Account | None:
    """Return whom a server runs as: nobody if we are root, which servers refuse to be; None for ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def reachable(path: Path, who: Account | None) -> bool:
    """Tell whether an account may enter or execute a path; without one, it is our own business."""
    return who is None or all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def new_home(name: str, *, durable: bool, executable: bool, who: Account | None) -> Path:
    """Make a private folder for a server's data; `executable` if programs have to run from it.

    Raises:
        ServerFailedError: No folder is fit to hold it.
    """
    for folder in candidates(durable=durable):
        if _fits(folder, durable=durable, executable=executable, who=who):
            return Path(tempfile.mkdtemp(prefix="oncetask-", dir=folder))
    rule = "on a disk, " if durable else ""
    raise ServerFailedError(
        name,
        f"has no place for its data: set TMPDIR to a folder {rule}with {FREE_BYTES >> 20} MiB free, "
        "which every user may enter if you are root",
    )


def candidates(*, durable: bool) -> Iterable[Path]:
    """Return the folders that may hold a home, best first."""
    return [*(() if durable else (IN_MEMORY,)), Path(tempfile.gettempdir()), *TEMPORARY]


def give(home: Path, who: Account | None) -> None:
    """Give a home and all that is in it to an account."""
    if who is not None:
        for path in (home, *home.rglob("*")):
            os.chown(path, *who, follow_symlinks=False)


def in_memory(folder: Path) -> bool:
    """Tell whether a folder is kept in memory, as far as the system tells."""
    if not MOUNTS.exists():
        return False
    device = folder.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.split() for line in MOUNTS.read_text(encoding="utf-8").splitlines())
    return any(mount[2] == numbers and mount[mount.index("-") + 1] in MEMORY_TYPES for mount in mounts)


def _fits(folder: Path, *, durable: bool, executable: bool, who: Account | None) -> bool:
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and reachable(folder, who)):
        return False
    status = os.statvfs(folder)
    return not (
        (durable and in_memory(folder))
        or (executable and status.f_flag & NOEXEC)
        or status.f_bavail * status.f_frsize < FREE_BYTES
    )
