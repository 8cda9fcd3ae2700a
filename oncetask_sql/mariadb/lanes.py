"""The connections that each event loop has of its own."""

from collections.abc import Sequence
from typing import Final

from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.creates import Creates
from oncetask_sql.lane import Lane
from oncetask_sql.mariadb import inserting
from oncetask_sql.mariadb.endpoint import lane
from oncetask_sql.mariadb.location import Location
from oncetask_sql.mariadb.session import Session
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
        self._lanes = {purpose: lane(location, only_reads=purpose == "reads") for purpose in PURPOSES}
        self._wording = wording
        self.creates = Creates(self._insert)

    def __getitem__(self, purpose: str) -> Lane[Session]:
        return self._lanes[purpose]

    @property
    def round_trips(self) -> int:
        """How often the server was waited for."""
        return sum(one.round_trips for one in self._lanes.values())

    async def close(self) -> None:
        """Close the connections, once what was asked for has ended."""
        for one in self._lanes.values():
            await one.close()

    async def _insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return await self._lanes["creates"].run(lambda session: inserting.insert(session, self._wording, tasks))
