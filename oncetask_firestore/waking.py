"""Hearing what others create or make due: a listener, for as long as there is nothing to do.

Each change of what a listener shows is a read for each worker that listens. So it shows two documents, and nobody
listens while claims find something, or for a second after something was heard.

The first is the newest task of the environment, whoever created it, workers of the Go library included: creating costs
no further write. Tasks tell the second in which they were created, and no more: of several within one second the
listener may show any. So what was heard counts twice, at once and when its second is over. The second document says
that a task that was there already was made due, by being cancelled, reset, rescheduled or given back: these are rare,
and each instance writes it once in a second at most, because one document takes few writes. What is missed all the
same is found by the next poll.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from oncetask_core.errors import StoreError
from oncetask_core.transition import Atom, Event
from oncetask_firestore.channel import Heard
from oncetask_firestore.database import ANY, TASKS, WAKES, Database, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import Place, new_mark

SECOND: Final = 1.0
QUIET_SECONDS: Final = 1.0
"""How long nothing may have been claimed before anybody listens."""
ADVANCING: Final = frozenset({Event.CANCEL, Event.RESET, Event.RESCHEDULE, Event.RELEASE})
"""What makes a task due that was there already, for whoever has a free slot."""


def advances(atoms: Sequence[Atom]) -> bool:
    """Return whether others should look for tasks after these, though none is created."""
    return any(one.event in ADVANCING for atom in atoms for one in atom.transitions)


class Wakes:
    """What the worker of an instance hears.

    Args:
        place: The environment.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: set[Heard] = set()
        self._has_begun = False
        self._granted_at = float("-inf")
        self._again_at: float | None = None

    def note_granted(self) -> None:
        """Stop listening for a while: a claim has found something."""
        self._granted_at = self._place.time.monotonic()

    async def changed(self, database: Database) -> None:
        """Return once there may be a task that somebody else created or made due; the first call returns at once.

        Raises:
            StoreUnavailableError: The stream broke.
            StoreError: Firestore refuses.
        """
        if not self._has_begun:
            self._has_begun = True
        elif self._again_at is not None:
            await self._sleep_until(self._again_at)
            self._again_at = None
        else:
            await self._heard(database)
            self._again_at = self._place.time.monotonic() + SECOND

    async def _heard(self, database: Database) -> None:
        """Return once the listener shows what it did not show before."""
        while True:
            while (quiet_at := self._granted_at + QUIET_SECONDS) > self._place.time.monotonic():
                await self._sleep_until(quiet_at)
            if await self._is_news(database):
                return

    async def _is_news(self, database: Database) -> bool:
        """Listen until there is news, or until it is no time for listening any more."""
        query = Query(TASKS).where(("env", "==", self._place.env)).order_by("-createdAt").limit(1)
        began = self._place.time.monotonic()
        async with contextlib.aclosing(database.listen(query, [(WAKES, _name(self._place))])) as documents:
            async for document in documents:
                # a task is news once, however often it is written
                seen = document._replace(updated=0) if document.collection == TASKS else document
                if seen not in self._known:
                    self._known = {one for one in self._known if one.collection != seen.collection} | {seen}
                    return True
                if self._granted_at > began:
                    break
        return False

    async def _sleep_until(self, time: float) -> None:
        await asyncio.sleep(max(time - self._place.time.monotonic(), 0))


class Bell:
    """Tells others that something was made due, on one event loop.

    Args:
        place: The environment.
        database: Where it is.
    """

    def __init__(self, place: Place, database: Database) -> None:
        self._place = place
        self._database = database
        self._wanted = False
        self._closing = asyncio.Event()
        self._ringing: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Let the workers of other instances look for tasks, soon; what is said within a second is said once."""
        self._wanted = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring())

    async def close(self) -> None:
        """Return when what was to be said has been said."""
        self._closing.set()
        if self._ringing is not None:
            await asyncio.wait([self._ringing])

    async def _ring(self) -> None:
        while self._wanted:
            self._wanted, mark = False, new_mark()
            fields = {"env": self._place.env, "write": mark}
            with contextlib.suppress(StoreError):  # the poll of the others stands in for it
                await self._database.commit([Write(WAKES, _name(self._place), fields, ANY)], mark=mark)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), SECOND)


def _name(place: Place) -> str:
    return scoped_name(place.env)
