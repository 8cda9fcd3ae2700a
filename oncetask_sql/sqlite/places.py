"""Whether a database file can live where it is meant to: the folder, the file, the file system."""

import re
from pathlib import Path
from typing import Final

from oncetask_core.errors import ConfigurationError

NETWORK: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "ceph", "glusterfs", "lustre",
    "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse",
})  # fmt: skip
"""File systems without the shared memory and the locks that a write-ahead log needs."""
MOUNTS: Final = Path("/proc/self/mountinfo")
_FEWEST_FIELDS = 5
_ESCAPE = re.compile(r"\\([0-7]{3})")


def check_place(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Refuse a path at which no store could work.

    Args:
        path: The database file, absolute; it may not exist yet.
        mounts: Where the system says which file system is where; without such a file nothing is refused for it.

    Raises:
        ConfigurationError: The folder does not exist or may not be entered, the path is no file, or the file system is
            another machine's.
    """
    try:
        _check_file(path)
    except PermissionError as error:
        raise ConfigurationError(
            value=str(path),
            rule="the folder of the database file can be entered by this user",
            remedy="Let this user write there, or name another folder.",
        ) from error
    kind = file_system(path, mounts)
    if kind in NETWORK:
        raise ConfigurationError(
            value=str(path),
            rule=f"a SQLite store lives on a local file system, not on {kind}: its log needs shared memory",
            remedy="Use a local disk, or a database server for several machines.",
        )


def _check_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(
            value=str(path), rule="the folder of the database file exists", remedy=f"Create {str(path.parent)!r}."
        )
    if path.exists() and not path.is_file():
        raise ConfigurationError(
            value=str(path), rule="a SQLite database is a regular file", remedy="Name a file, not a folder or device."
        )


def file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the file system that a path lies on, or None where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real, deepest, kind = path.resolve(), -1, None
    for line in lines:
        point, found = _mount(line)
        if point is not None and real.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), found
    return kind


def _mount(line: str) -> tuple[Path | None, str]:
    """Return the mount point and type of a line: `36 35 98:0 /root /point options - type source options`."""
    where, _, what = line.partition(" - ")
    fields = where.split(" ")
    if len(fields) < _FEWEST_FIELDS or not what:
        return None, ""
    point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return Path(point), what.split(" ")[0]
