"""Looking for the programs of a server: the first that will do, and what to say where none does."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.commands import ToolError
from tools.servers.debian import below
from tools.servers.errors import ServerMissingError
from tools.servers.installation import BrokenError, Installation, Requirement, UnfitError


class Program(NamedTuple):
    """A program that this machine may have, and that Debian has a package of."""

    server: str
    """What people call the server."""
    names: Sequence[str]
    """What the program may be called."""
    packaged: Path
    """Where it is in the package."""
    requirement: Requirement
    ways: Sequence[str]
    """What a person can do where there is none."""


def first_fit(candidates: Iterable[Installation], requirement: Requirement, looked: list[str]) -> Installation | None:
    """Return the first installation that will do; add to `looked` why those before it will not."""
    for installation in candidates:
        try:
            requirement.check(installation)
        except UnfitError as error:
            looked.append(str(error))
        else:
            return installation
    return None


def find(program: Program, *, path: str, folders: Sequence[Path], unpacked: Callable[[], Path]) -> Installation:
    """Return the first installation that will do: on the PATH, in the system's folders, then Debian's, unpacked.

    Raises:
        ServerMissingError: There is none.
        BrokenError: The unpacked package does not start.
    """
    places = ", ".join(str(folder) for folder in folders)
    looked = [f"`{'` and `'.join(program.names)}` on the PATH and in {places}"]
    installed = first_fit(_installed(program.names, path, folders), program.requirement, looked)
    if installed is not None:
        return installed
    try:
        installation = below(unpacked(), program.packaged)
        program.requirement.check(installation)
    except BrokenError:  # we have made it ourselves: no reason to do without
        raise
    except ToolError as error:
        looked.append(f"Debian's package, which will not do: {error}")
        raise ServerMissingError(program.server, looked=looked, ways=program.ways) from error
    return installation


def _installed(names: Sequence[str], path: str, folders: Sequence[Path]) -> Iterator[Installation]:
    found = [shutil.which(name, path=path) for name in names]
    programs = [*(Path(name) for name in found if name), *(folder / name for folder in folders for name in names)]
    for program in dict.fromkeys(program.resolve() for program in programs if program.exists()):
        yield Installation(program.parents[1], program.relative_to(program.parents[1]))
