"""Who else claims: under load, candidates are split over the live instances, so that they do not take each other's.

Each instance that finds more due tasks than it can read says so in a small document, and reads those of the others.
What is split is a matter of speed alone: the share of an instance that has died is split anew after some seconds, and
what an instance leaves alone for a moment is anybody's who has nothing else to do.

Whether it leaves something alone is seen in two ways, for neither does where the other is needed. Of the first due
tasks of a kind (`split_page`) each instance takes its own in their order: it goes on as long as its first one changes,
and that the hundreds behind wait for longer says nothing of it. What is met here and there (`split`: the next keys
behind a cursor, what came since) has no first task, since another part of it is read each time: there each task or key
has a time of its own.
"""

import zlib
from collections import defaultdict
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
"""After how many times as long whoever looks takes all of it; until then it is split among those that look."""
PACE: Final = 2
"""How many times as long as it takes to read what is due it is left to it, where that is longer."""


class Shares(NamedTuple):
    """Due tasks, split."""

    ours: Sequence[Raw]
    late: Sequence[Raw]
    """Our share of what the others have left alone for a moment."""
    spare: Sequence[Raw] = ()
    """Our part of what the others come to last: to help them where there is nothing else."""
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
        self._pace = 0.0
        self._met: dict[str, float] = {}
        """Since when each key or task of the others' shares is known."""
        self._heads: dict[tuple[str, int], tuple[str, float]] = {}
        """By kind and rank: the first key or task of each of the others' shares, and since when it is that."""

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
        self._pace = seconds
        self.patience = min(max(PATIENCE_SECONDS, PACE * seconds), REFRESH_SECONDS)

    async def meet(self, database: Database) -> None:
        """See at once who else claims: others were faster with much."""
        if self._place.time.monotonic() - self._since > AT_ONCE_SECONDS:
            await self._refresh(database)

    def split(self, raws: Sequence[Raw]) -> Shares:
        """Split some due tasks, all of a key together.

        What another has left alone for a moment since we saw it is split anew, and anybody's after another moment.
        """
        if self.size == 1:
            return Shares(raws, ())
        ours, others = list[Raw](), list[Raw]()
        for raw in raws:
            (ours if self.is_ours(raw) else others).append(raw)
        if len(self._met) > MOST_MET:
            self._met.clear()
        now = self._place.time.monotonic()
        late = [raw for raw in others if self._is_late(raw, now - self._met.setdefault(_name_of(raw), now))]
        return Shares(ours, late, leaves_some=len(others) > len(late))

    def split_page(self, kind: str, raws: Sequence[Raw], *, next_ones: int) -> Shares:
        """Split the first due tasks of a kind, all of a key together.

        Where the first task of another's share has been the same for a moment that one is slow or gone: then its share
        is split anew, and anybody's after another moment.

        Args:
            kind: The kind.
            raws: The tasks, the first ones first.
            next_ones: How many each of the others is about to take.
        """
        count = self.size
        if count == 1:
            return Shares(raws, ())
        shares: defaultdict[int, list[Raw]] = defaultdict(list)
        for raw in raws:
            shares[_number(raw) % count].append(raw)
        ours = shares.pop(self._members.index(self._name), [])
        late, spare = list[Raw](), list[Raw]()
        for rank, share in shares.items():
            alone = self._alone(kind, rank, share[0])
            late += [raw for raw in share if self._is_late(raw, alone)]
            if alone < self.patience:
                theirs = frozenset(map(_name_of, share[:next_ones]))
                spare += [raw for raw in share if _name_of(raw) not in theirs and self._is_second(raw)]
        return Shares(ours, late, spare, leaves_some=len(ours) + len(late) < len(raws))

    def _alone(self, kind: str, rank: int, first: Raw) -> float:
        """Return for how many seconds the first task of another's share of a kind has been the same."""
        now, name = self._place.time.monotonic(), _name_of(first)
        head, since = self._heads.get((kind, rank), ("", now))
        since = since if head == name else now
        self._heads[kind, rank] = (name, since)
        return now - since

    def _is_late(self, raw: Raw, alone: float) -> bool:
        """Return whether a task that another has left alone for some seconds is now ours."""
        return alone >= LONG * self.patience or (alone >= self.patience and self._is_second(raw))

    def _is_second(self, raw: Raw) -> bool:
        """Return whether we are the one who helps with a task."""
        count = len(self._members)
        return _number(raw) // count % count == self._members.index(self._name)

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
            await self._place.time.sleep(max(JOINING_SECONDS, self._pace))  # who begins at the same time is seen
        found = await database.find(Query(WORKERS).where(("env", "==", self._place.env)).limit(MOST))
        live = {raw.name for raw in found if now - _seen(raw) < LIVE_MICROS}
        members = sorted(live | {self._name})
        if members != self._members:
            self._heads.clear()
        self._members = members
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
