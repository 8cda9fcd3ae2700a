"""The connections that each event loop has of its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.creates import Creates
from oncetask_sql.lane import Counted, Endpoint, Lane

S = TypeVar("S", bound=Counted)

PURPOSES: Final = ("reads", "creates", "writes", "claims", "renewals")
"""What never waits for each other here."""


class Lanes(Generic[S]):
    """What one event loop has: a lane for each purpose, each connecting when it is first used.

    Args:
        endpoint: Returns the server for a purpose.
        insert: Adds tasks over a session; returns an answer for each, in order.
    """

    def __init__(
        self,
        endpoint: Callable[[str], Endpoint[S]],
        insert: Callable[[S, Sequence[NewTask]], Awaitable[Sequence[Inserted]]],
    ) -> None:
        self._lanes = {purpose: Lane(endpoint(purpose), only_reads=purpose == "reads") for purpose in PURPOSES}
        self._insert = insert
        self.creates = Creates(self._create)

    def __getitem__(self, purpose: str) -> Lane[S]:
        return self._lanes[purpose]

    @property
    def round_trips(self) -> int:
        """How often the server was waited for."""
        return sum(one.round_trips for one in self._lanes.values())

    async def close(self) -> None:
        """Close the connections, once what was asked for has ended."""
        for one in self._lanes.values():
            await one.close()

    async def _create(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        return await self._lanes["creates"].run(lambda session: self._insert(session, tasks))
