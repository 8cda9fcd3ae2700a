"""Tests marked `alone` run while no other test does, also in a parallel session.

They measure time, load every core, or change what a whole server does; to wait or to start processes is no reason.
All other tests hold a lock that they share; such a test waits until it has that lock for itself. Who waits holds the
gate, so that no newcomer overtakes it. They come last: in between, each would leave a worker idle until its neighbour
is done.
"""

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

import pytest

FOLDER = "alone_folder"
_SHARED = pytest.StashKey[str]()


class _Node(Protocol):
    """A worker of a parallel session, as pytest-xdist presents it to the session."""

    config: pytest.Config
    workerinput: dict[str, str]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _Node) -> None:
    """Give every worker of a session the same folder; it goes with the session."""
    folder = node.config.stash.get(_SHARED, None)
    if folder is None:
        temporary = tempfile.TemporaryDirectory(prefix="oncetask-alone-")
        node.config.add_cleanup(temporary.cleanup)
        folder = node.config.stash.setdefault(_SHARED, temporary.name)
    node.workerinput[FOLDER] = folder


def pytest_configure(config: pytest.Config) -> None:
    """Watch over the tests of a worker of a parallel session; elsewhere every test is alone."""
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_Turns(Path(config.workerinput[FOLDER])), "alone-turns")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that are alone behind all others; both keep their order."""
    items.sort(key=_is_alone)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


class _Turns:
    """The gate and the room, as two locked files that the workers of one session share."""

    def __init__(self, folder: Path) -> None:
        self._gate, self._room = folder / "gate", folder / "room"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        kind = fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH
        with ExitStack() as held:
            with self._gate.open("wb") as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)
                room: BinaryIO = held.enter_context(self._room.open("wb"))
                fcntl.flock(room, kind)
            return (yield)
