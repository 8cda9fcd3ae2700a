"""Resource keys: who of a key may be claimed, and the lock document that every claim of the key moves.

No document says who has the seat of a key. A claim reads the lock document first, and only then whether anything of
the key is leased. Every claim of the key writes the lock, under the time of update that it read: so if nobody is
leased, and the lock is as it was, nobody was leased in between. The lock never says who may run; it is never deleted,
has no end, and its epoch only rises.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from oncetask_core.claims import is_due
from oncetask_core.errors import StoreError
from oncetask_core.seats import contends, rightful_head, successors
from oncetask_core.task import OnceTask
from oncetask_firestore.database import LOCKS, TASKS, Database, Raw, Write
from oncetask_firestore.extras import STRICT
from oncetask_firestore.messages import Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import Fault, Place, Stored
from oncetask_firestore.texts import rounded_down

Task = OnceTask[object]

LEASED_SEEN: Final = 20
"""How many leases of a key are looked at: generators that Go leases are not the key's."""
LINE: Final = 30
"""How many more than a group of the line are read."""


class Key(NamedTuple):
    """A key of a kind."""

    kind: str
    resource_key: str


class Line(NamedTuple):
    """Who may be claimed for a key, under a lock that was read before them."""

    key: Key
    lock: Raw | None
    head: Stored
    followers: Sequence[Stored]
    """The tasks that would join the head's group."""

    @property
    def epoch(self) -> int:
        """The fence number of the next grant."""
        return 1 + max([_epoch(self.lock), *(one.task.epoch for one in (self.head, *self.followers))])

    def taken(self, place: Place, *, mark: str, lease_uid: str, ids: Sequence[str]) -> Write:
        """Return the write of the lock that goes with a grant."""
        fields = {
            "env": place.env,
            "type": self.key.kind,
            "resourceKey": self.key.resource_key,
            "lease": lease_uid,
            "holders": list(ids),
            "epoch": self.epoch,
            "write": mark,
        }
        updated = None if self.lock is None else self.lock.updated
        return Write(LOCKS, lock_name(place, self.key), fields, updated)


def lock_name(place: Place, key: Key) -> str:
    """Return the name of the lock document of a key."""
    return scoped_name(place.env, key.kind, key.resource_key)


async def line_of(
    database: Database, place: Place, key: Key, *, group: int, first: Sequence[Stored] = ()
) -> tuple[Line | None, list[Fault]]:
    """Return who may be claimed for a key, or None if nobody may; and what of it cannot be read.

    Args:
        database: Where they are.
        place: Whose they are.
        key: The key.
        group: How many are claimed together.
        first: The first unleased tasks of the key by waiting time, where they have been read.
    """
    name = lock_name(place, key)
    locks, (waiting, faults) = await asyncio.gather(
        database.get([name], LOCKS), _line(database, place, key, limit=0 if first else group + LINE)
    )
    waiting = [*first, *waiting]
    leased, _ = place.read_all(await database.find(_leased(place, key)))
    if any(contends(one.task) and one.task.lease_uid is not None for one in leased):
        return None, faults
    by_id = {one.task.id: one for one in waiting if one.task.lease_uid is None}
    tasks, now = [one.task for one in by_id.values()], place.time.now()
    head = rightful_head(tasks)
    if head is None or not is_due(head, now):
        return None, faults
    group_of = successors(head, tasks, now=now, limit=group - 1)
    return Line(key, locks.get(name), by_id[head.id], [by_id[task.id] for task in group_of]), faults


async def is_leased_beside(database: Database, place: Place, key: Key, *, ids: Collection[str]) -> bool:
    """Return whether a task of a key other than these holds a lease that has not run out, by Go's own test."""
    leased, faults = place.read_all(await database.find(_leased(place, key)))
    now = rounded_down(place.time.now())
    others = [one.task for one in leased if one.task.id not in ids and contends(one.task)]
    return bool(faults) or any(rounded_down(task.leased_until or place.time.now()) > now for task in others)


async def _line(database: Database, place: Place, key: Key, *, limit: int) -> tuple[list[Stored], list[Fault]]:
    """Return the first of the unleased tasks, and all whose order is strict: those come first wherever they stand."""
    unleased = _live(place, key).where(("leasedUntil", "==", ""))
    strict = await database.find(unleased.where((STRICT, "==", True)))
    first = await database.find(unleased.order_by("waitUntil").limit(limit)) if limit else []
    return place.read_all({raw.name: raw for raw in (*first, *strict)}.values())


def _leased(place: Place, key: Key) -> Query:
    return _live(place, key).where(("leasedUntil", ">", "")).limit(LEASED_SEEN)


def _live(place: Place, key: Key) -> Query:
    return Query(TASKS).where(
        ("env", "==", place.env),
        ("type", "==", key.kind),
        ("resourceKey", "==", key.resource_key),
        ("doneAt", "==", ""),
    )


def _epoch(lock: Raw | None) -> int:
    epoch: Any = 0 if lock is None else lock.fields.get("epoch")
    if type(epoch) is not int:
        raise StoreError(f"the lock of a resource key cannot be read: its epoch is {epoch!r}")
    return epoch
