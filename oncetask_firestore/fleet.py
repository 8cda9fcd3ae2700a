"""Who else claims: under load, candidates are split over the live instances, so that they do not take each other's.

Each instance that finds more due tasks than it can read says so in a small document, and reads those of the others.
What is split is a matter of speed alone: a share that nobody takes, because an instance has died, is anybody's again
after some seconds, and whoever finds nothing in its share takes what there is.
"""

import zlib
from collections.abc import Sequence
from typing import Any, Final

from oncetask_firestore.database import WORKERS, Database, Raw, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Place, Stored, new_mark
from oncetask_firestore.texts import to_micros

REFRESH_SECONDS: Final = 5.0
LIVE_MICROS: Final = 15_000_000
"""How long ago an instance may have said that it claims."""
DEAD_MICROS: Final = 3_600_000_000
"""After so long the document of an instance is removed by another."""
HASTE_SECONDS: Final = 0.5
"""How soon it is looked again who is there when others were faster."""
MOST: Final = 200


class Fleet:
    """The instances that claim in one environment, as one of them knows them.

    Args:
        place: The environment.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._name = new_mark()
        self._updated: Any = None
        self._members: Sequence[str] = (self._name,)
        self._since = float("-inf")

    async def share(self, database: Database, stored: Sequence[Stored]) -> Sequence[Stored]:
        """Return those due tasks that are this instance's, all of a key together; all of them if none is."""
        if self._place.time.monotonic() - self._since > REFRESH_SECONDS:
            await self._refresh(database)
        count, rank = len(self._members), self._members.index(self._name)
        return [one for one in stored if _number(one) % count == rank] or stored

    def conflicted(self) -> None:
        """Look soon who is there: others were faster with what this instance took for its own."""
        latest = self._place.time.monotonic() - REFRESH_SECONDS
        self._since = min(self._since, latest + HASTE_SECONDS)

    async def _refresh(self, database: Database) -> None:
        self._since = self._place.time.monotonic()
        now = to_micros(self._place.time.now())
        fields = {"env": self._place.env, "seen": now}
        times = await database.commit([Write(WORKERS, self._name, fields, self._updated)], mark=self._name)
        self._updated = None if times is None else times[0]
        if self._updated is None:
            self._name = new_mark()  # the reply was lost, or the document removed: begin anew under another name
        found = await database.find(Query(WORKERS).where(("env", "==", self._place.env)).limit(MOST))
        live = {raw.name for raw in found if now - _seen(raw) < LIVE_MICROS}
        self._members = sorted(live | {self._name})
        for raw in found:
            if now - _seen(raw) > DEAD_MICROS:
                await database.commit([Write(WORKERS, raw.name, None, raw.updated)], mark=self._name)


def _number(stored: Stored) -> int:
    return zlib.crc32((stored.task.resource_key or stored.task.id).encode())


def _seen(raw: Raw) -> int:
    seen = raw.fields.get("seen")
    return seen if isinstance(seen, int) else 0
