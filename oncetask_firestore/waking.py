"""Hearing what others create or make due: small documents that say so, and a listener while there is nothing to do.

An instance that creates tasks, or makes tasks due that were there already, says so in one of a few small documents
beside the tasks, once in a second at most: one document takes few writes, and creating does not wait for it. A listener
sees the document that was written last. Each change of it is a read for each worker that listens, so nobody listens
while claims find something, or for a second after something was heard; what was heard counts twice, at once and after
that second. What is missed all the same, such as what workers of the Go library create, is found by the next poll.
"""

import asyncio
import contextlib
import secrets
from typing import Final

from oncetask_core.errors import StoreError
from oncetask_firestore.channel import Heard
from oncetask_firestore.database import ANY, WAKES, Database, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import Place, new_mark
from oncetask_firestore.texts import to_micros

SECOND: Final = 1.0
QUIET_SECONDS: Final = 1.0
"""How long nothing may have been claimed before anybody listens."""
DOCUMENTS: Final = 64
"""Among how many documents those who tell something choose."""


class Wakes:
    """What the worker of an instance hears.

    Args:
        place: The environment.
        teller: What this instance calls itself when it tells something.
    """

    def __init__(self, place: Place, teller: str) -> None:
        self._place = place
        self._teller = teller
        self._latest: Heard | None = None
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
        """Return once somebody else has told something."""
        while True:
            while (quiet_at := self._granted_at + QUIET_SECONDS) > self._place.time.monotonic():
                await self._sleep_until(quiet_at)
            if await self._is_news(database):
                return

    async def _is_news(self, database: Database) -> bool:
        """Listen until there is news, or until it is no time for listening any more."""
        query = Query(WAKES).where(("env", "==", self._place.env)).order_by("-at").limit(1)
        began = self._place.time.monotonic()
        async with contextlib.aclosing(database.listen(query)) as documents:
            async for document in documents:
                known, self._latest = self._latest, document
                if document != known and document.teller != self._teller:
                    return True
                if self._granted_at > began:
                    break
        return False

    async def _sleep_until(self, time: float) -> None:
        await asyncio.sleep(max(time - self._place.time.monotonic(), 0))


class Bell:
    """Tells others that there is something to claim, on one event loop.

    Args:
        place: The environment.
        database: Where it is.
        teller: What this instance calls itself.
    """

    def __init__(self, place: Place, database: Database, teller: str) -> None:
        self._place = place
        self._database = database
        self._teller = teller
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
            name = scoped_name(self._place.env, str(secrets.randbelow(DOCUMENTS)))
            at = to_micros(self._place.time.now())
            fields = {"env": self._place.env, "at": at, "teller": self._teller, "write": mark}
            with contextlib.suppress(StoreError):  # the poll of the others stands in for it
                await self._database.commit([Write(WAKES, name, fields, ANY)], mark=mark)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), SECOND)
