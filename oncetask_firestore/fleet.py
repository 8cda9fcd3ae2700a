"""Who else claims: under load, candidates are split over the live instances, so that they do not take each other's.

Each instance that finds more due tasks than it can read says so in a small document, and reads those of the others.
What is split is a matter of speed alone: the share of an instance that has died is split anew after some seconds, and
what an instance leaves alone for a moment is anybody's who has nothing else to do.
"""

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from oncetask_firestore.database import WORKERS, Database, Raw, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Place, new_mark
from oncetask_firestore.texts import to_micros

REFRESH_SECONDS: Final = 5.0
LIVE_MICROS: Final = 15_000_000
"""How long ago an instance may have said that it claims."""
DEAD_MICROS: Final = 3_600_000_000
"""After so long the document of an instance is removed by another."""
JOINING_SECONDS: Final = 0.1
HASTE_SECONDS: Final = 0.5
"""How soon it is looked again who is there when others were faster with something."""
CONTESTED_SECONDS: Final = 2.0
AT_ONCE_SECONDS: Final = 0.1
"""How soon it is when they were with much."""
MOST: Final = 200
MOST_MET: Final = 10_000
PATIENCE_SECONDS: Final = 0.3
"""How long a task is left at least to the instance whose share it is in, once it was seen."""
LONG: Final = 3
"""How many times as long it is split among those that look; after that, whoever looks takes all of it."""
PACE: Final = 3
"""How many times as long as it takes to read what is due it is left to it, where that is longer."""


class Shares(NamedTuple):
    """Due tasks, split."""

    ours: Sequence[Raw]
    late: Sequence[Raw]
    """Our share of what the others have left alone for a moment."""
    leaves_some: bool = False
    """Whether some are left to the others."""


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
        self._conflicted_at = float("-inf")
        self.patience = PATIENCE_SECONDS
        """How long a task is left to the instance whose share it is in, once it was seen."""
        self._met: dict[str, float] = {}
        """Until when each key or task of the others' shares is left to them."""

    @property
    def size(self) -> int:
        """How many instances claim, this one included, as far as it knows."""
        now = self._place.time.monotonic()
        return len(self._members) if now - self._since < LIVE_MICROS / 1_000_000 else 1

    async def look(self, database: Database) -> None:
        """Say that this instance claims, and see who else does, if it has not for some seconds."""
        if self._place.time.monotonic() - self._since > REFRESH_SECONDS:
            await self._refresh(database)

    def note_pace(self, seconds: float) -> None:
        """Learn how long it takes to read what is due: so long the others take, too."""
        self.patience = min(max(PATIENCE_SECONDS, PACE * seconds), REFRESH_SECONDS)

    async def meet(self, database: Database) -> None:
        """See at once who else claims: others were faster with much."""
        if self._place.time.monotonic() - self._since > AT_ONCE_SECONDS:
            await self._refresh(database)

    def split(self, raws: Sequence[Raw]) -> Shares:
        """Split due tasks, all of a key together."""
        count = self.size
        if count == 1:
            return Shares(raws, ())
        rank, now = self._members.index(self._name), self._place.time.monotonic()
        ours, others = list[Raw](), list[Raw]()
        for raw in raws:
            (ours if self.is_ours(raw) else others).append(raw)
        if len(self._met) > MOST_MET:
            self._met.clear()
        late = [raw for raw in others if self._is_late(raw, now, rank=rank)]
        return Shares(ours, late, leaves_some=len(others) > len(late))

    def _is_late(self, raw: Raw, now: float, *, rank: int) -> bool:
        """Return whether another has left a task alone for a moment, and it is now ours; all of a key together."""
        over = now - self._met.setdefault(_name_of(raw), now + self.patience)
        is_split = over < (LONG - 1) * self.patience
        count = len(self._members)
        return over >= 0 and (not is_split or _number(raw) // count % count == rank)

    def is_ours(self, raw: Raw) -> bool:
        """Return whether a task is in this instance's share."""
        count = self.size
        return count == 1 or _number(raw) % count == self._members.index(self._name)

    @property
    def is_contested(self) -> bool:
        """Whether others were faster a moment ago."""
        return self._place.time.monotonic() - self._conflicted_at < CONTESTED_SECONDS

    def conflicted(self) -> None:
        """Look soon who is there: others were faster with what this instance took for its own."""
        self._conflicted_at = self._place.time.monotonic()
        latest = self._place.time.monotonic() - REFRESH_SECONDS
        self._since = min(self._since, latest + HASTE_SECONDS)

    async def _refresh(self, database: Database) -> None:
        self._since = self._place.time.monotonic()
        now = to_micros(self._place.time.now())
        fields = {"env": self._place.env, "seen": now}
        is_new = self._updated is None
        times = await database.commit([Write(WORKERS, self._name, fields, self._updated)], mark=self._name)
        self._updated = None if times is None else times[0]
        if self._updated is None:
            self._name = new_mark()  # the reply was lost, or the document removed: begin anew under another name
        if is_new:
            await asyncio.sleep(JOINING_SECONDS)  # who begins at the same time is seen
        found = await database.find(Query(WORKERS).where(("env", "==", self._place.env)).limit(MOST))
        live = {raw.name for raw in found if now - _seen(raw) < LIVE_MICROS}
        self._members = sorted(live | {self._name})
        for raw in found:
            if now - _seen(raw) > DEAD_MICROS:
                await database.commit([Write(WORKERS, raw.name, None, raw.updated)], mark=self._name)


def _number(raw: Raw) -> int:
    return zlib.crc32(_name_of(raw).encode())


def _name_of(raw: Raw) -> str:
    return str(raw.fields.get("resourceKey") or raw.name)


def _seen(raw: Raw) -> int:
    seen = raw.fields.get("seen")
    return seen if isinstance(seen, int) else 0
