"""Resource keys: who of a key may be claimed, and the lock document that every claim of the key moves.

No document says who has the seat of a key. A claim reads the lock document first, and only then whether anything of
the key is leased. Every claim of the key writes the lock, under the time of update that it read: so if nobody is
leased, and the lock is as it was, nobody was leased in between. The lock never says who may run; it is never deleted,
has no end, and its epoch only rises.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from oncetask_core.claims import is_due
from oncetask_core.seats import contends, rightful_head, successors
from oncetask_core.task import OnceTask
from oncetask_firestore.database import LOCKS, TASKS, Database, Raw, Write
from oncetask_firestore.extras import STRICT
from oncetask_firestore.messages import Condition, Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import Fault, Place, Stored
from oncetask_firestore.texts import rounded_down

Task = OnceTask[object]

LINE: Final = 30
"""How many more than a group of the line are read."""
FEW: Final = 2
"""So many keys are looked up one by one."""
PER_KEY: Final = 2
"""How many documents of a kind are read at most, for each key, before the keys are looked up one by one."""
AT_ONCE: Final = 8


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


async def line_of(database: Database, place: Place, key: Key, *, group: int) -> Line | None:
    """Return who may be claimed for a key, or None if nobody may."""
    lines, _ = await lines_of(database, place, {key: ()}, group=group)
    return lines[0] if lines else None


async def lines_of(
    database: Database, place: Place, keys: Mapping[Key, Sequence[Stored]], *, group: int
) -> tuple[list[Line], list[Fault]]:
    """Return who may be claimed for keys of one kind, where anybody may; and what of them cannot be read.

    Args:
        database: Where they are.
        place: Whose they are.
        keys: The keys, each with its first unleased tasks by waiting time where they have been read.
        group: How many are claimed together.
    """
    locks, strict, waiting = await asyncio.gather(
        database.get([lock_name(place, key) for key in keys], LOCKS),
        _of_keys(database, place, list(keys), form=_STRICT),
        _of_keys(database, place, [key for key, first in keys.items() if not first], form=_first(group + LINE)),
    )
    leased = await _of_keys(database, place, list(keys), form=_LEASED)  # after the locks: see the top of this module
    lines: list[Line] = []
    for key, first in keys.items():
        if any(contends(one.task) and one.task.lease_uid is not None for one in leased.of(key)):
            continue
        in_line = [*first, *waiting.of(key), *strict.of(key)]
        line = line_up(key, locks.get(lock_name(place, key)), in_line, now=place.time.now(), group=group)
        lines += [] if line is None else [line]
    return lines, [*strict.faults, *waiting.faults]


async def leased_beside(database: Database, place: Place, keys: Mapping[Key, Collection[str]]) -> frozenset[Key]:
    """Return those keys of which a task other than these holds a lease that has not run out, by Go's own test."""
    leased = await _of_keys(database, place, list(keys), form=_LEASED)
    now = rounded_down(place.time.now())
    broken = {fault.raw.fields.get("resourceKey") for fault in leased.faults}
    return frozenset(
        key
        for key, ids in keys.items()
        if key.resource_key in broken
        or any(
            contends(one.task) and rounded_down(one.task.leased_until or place.time.now()) > now
            for one in leased.of(key)
            if one.task.id not in ids
        )
    )


def line_up(key: Key, lock: Raw | None, waiting: Iterable[Stored], *, now: datetime, group: int) -> Line | None:
    """Return who may be claimed of those that wait for a key that nobody holds, or None if nobody may."""
    by_id = {one.task.id: one for one in waiting if one.task.lease_uid is None}
    tasks = [one.task for one in by_id.values()]
    head = rightful_head(tasks)
    if head is None or not is_due(head, now):
        return None
    group_of = successors(head, tasks, now=now, limit=group - 1)
    return Line(key, lock, by_id[head.id], [by_id[task.id] for task in group_of])


class _Form(NamedTuple):
    """What is asked of a key, or of its whole kind."""

    conditions: tuple[Condition, ...]
    of_kind: tuple[Condition, ...] | None = None
    """By what all of a kind are asked for, where they may be few enough."""
    most: int = 0
    """Of one key; 0 means all."""
    order: tuple[str, ...] = ()


_LIVE: Final = ("doneAt", "==", "")
_UNLEASED: Final = ("leasedUntil", "==", "")
_IS_STRICT: Final = (_LIVE, _UNLEASED, (STRICT, "==", True))
_STRICT: Final = _Form(_IS_STRICT, _IS_STRICT)
"""All whose order is strict: those come first wherever they stand."""
_IS_LEASED: Final = ("leasedUntil", ">", "")
_LEASED: Final = _Form((_LIVE, _IS_LEASED), (_IS_LEASED,), most=20)
"""Leases: none is left of a finished task. More than one group of a key where Go leases its generators."""


def _first(most: int) -> _Form:
    return _Form((_LIVE, _UNLEASED), most=most, order=("waitUntil",))


class _Found(NamedTuple):
    """What was found of keys."""

    stored: Mapping[str | None, Sequence[Stored]]
    faults: Sequence[Fault]

    def of(self, key: Key) -> Sequence[Stored]:
        """Return what was found of one key."""
        return self.stored.get(key.resource_key, ())


async def _of_keys(database: Database, place: Place, keys: Sequence[Key], *, form: _Form) -> _Found:
    """Ask for tasks of keys: of many by one query of their kind, or each by itself where that finds too many."""
    raws: list[Raw] | None = None
    if form.of_kind is not None and len(keys) > FEW:
        of_kind = Query(TASKS).where(("env", "==", place.env), ("type", "==", keys[0].kind), *form.of_kind)
        raws = await _unless_many(database, of_kind, most=PER_KEY * len(keys))
    if raws is None:
        raws = []
        for start in range(0, len(keys), AT_ONCE):
            queries = [_query(place, key, form) for key in keys[start : start + AT_ONCE]]
            raws += [raw for found in await asyncio.gather(*map(database.find, queries)) for raw in found]
    names = {key.resource_key for key in keys}
    stored, faults = place.read_all(raw for raw in raws if raw.fields.get("resourceKey") in names)
    by_key: defaultdict[str | None, list[Stored]] = defaultdict(list)
    for one in stored:
        by_key[one.task.resource_key].append(one)
    return _Found(by_key, faults)


async def _unless_many(database: Database, query: Query, *, most: int) -> list[Raw] | None:
    found = await database.find(query.limit(most))
    return found if len(found) < most else None


def _query(place: Place, key: Key, form: _Form) -> Query:
    query = Query(TASKS).where(
        ("env", "==", place.env),
        ("type", "==", key.kind),
        ("resourceKey", "==", key.resource_key),
        *form.conditions,
    )
    return query.order_by(*form.order).limit(form.most)


def _epoch(lock: Raw | None) -> int:
    """Return the latest fence number; where somebody wrote over it, one that is higher than any number of claims."""
    epoch: Any = 0 if lock is None else lock.fields.get("epoch")
    return epoch if type(epoch) is int or lock is None else lock.updated_micros
