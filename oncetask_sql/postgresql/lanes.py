"""The connections that each event loop has of its own, and those over which other processes are told and heard."""

from oncetask_sql import lanes
from oncetask_sql.postgresql import inserting
from oncetask_sql.postgresql.endpoint import Endpoint
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Session
from oncetask_sql.postgresql.waking import Wakes
from oncetask_sql.wording import Wording


class Lanes(lanes.Lanes[Session]):
    """What one event loop has.

    Args:
        location: The server.
        wording: How statements are worded.
    """

    def __init__(self, location: Location, wording: Wording) -> None:
        super().__init__(
            lambda purpose: Endpoint(purpose, location),
            lambda session, tasks: inserting.insert(session, wording, tasks),
        )
        self.wakes = Wakes(location, wording.env, self["creates"])

    async def close(self) -> None:
        """Say what is still to be said, and close the connections, once what was asked for has ended."""
        await self.wakes.told()
        await self.wakes.close()
        await super().close()
