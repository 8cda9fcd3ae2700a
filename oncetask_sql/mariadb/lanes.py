"""The connections of a process: each event loop has its own, and none is used after a fork."""

import asyncio
import os
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.creates import Creates
from oncetask_sql.mariadb import inserting
from oncetask_sql.mariadb.lane import Lane
from oncetask_sql.mariadb.location import Location
from oncetask_sql.wording import Wording

PURPOSES: Final = ("reads", "creates", "writes", "claims", "renewals")
"""What never waits for each other here."""


class Lanes:
    """What one event loop has: a lane for each purpose, each connecting when it is first used.

    Args:
        location: The server.
        wording: How statements are worded.
    """

    def __init__(self, location: Location, wording: Wording) -> None:
        self._lanes = {purpose: Lane(location, only_reads=purpose == "reads") for purpose in PURPOSES}
        self._wording = wording
        self.creates = Creates(self._insert)

    def __getitem__(self, purpose: str) -> Lane:
        return self._lanes[purpose]

    @property
    def round_trips(self) -> int:
        """How often the server was waited for."""
        return sum(lane.round_trips for lane in self._lanes.values())

    async def close(self) -> None:
        """Close the connections, once what was asked for has ended."""
        for lane in self._lanes.values():
            await lane.close()

    async def _insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return await self._lanes["creates"].run(lambda session: inserting.insert(session, self._wording, tasks))


class Loops:
    """The lanes of every event loop that uses a store.

    Args:
        location: The server.
        wording: How statements are worded.
    """

    def __init__(self, location: Location, wording: Wording) -> None:
        self._location = location
        self._wording = wording
        self._process = os.getpid()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Lanes] = WeakKeyDictionary()

    def here(self) -> Lanes:
        """Return the lanes of the running event loop; what a parent process had belongs to the parent."""
        if self._process != os.getpid():
            self._process, self._by_loop = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        lanes = self._by_loop.get(loop)
        return self._by_loop.setdefault(loop, Lanes(self._location, self._wording)) if lanes is None else lanes

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        lanes = self._by_loop.pop(asyncio.get_running_loop(), None)
        if lanes is not None and self._process == os.getpid():
            await lanes.close()
