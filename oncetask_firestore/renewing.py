"""Renewing: what leases hold, and until when."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from oncetask_core.errors import StoreError
from oncetask_core.store import HeldLease, Renewed
from oncetask_core.task import OnceTask
from oncetask_firestore.applying import TRIES, halves
from oncetask_firestore.database import TASKS, Database
from oncetask_firestore.extras import LEASE
from oncetask_firestore.listing import MOST_VALUES
from oncetask_firestore.messages import Query
from oncetask_firestore.place import Place, Stored, new_mark

T = TypeVar("T")
Task = OnceTask[object]
AT_ONCE = 100


async def renew(database: Database, place: Place, leases: Mapping[str, timedelta | None]) -> Renewed:
    """Extend what the named leases hold to now plus the duration; None only asks.

    Raises:
        StoreError: A lease would end at a time out of range; nothing was extended.
    """
    now = place.time.now()
    try:
        ends = {uid: None if by is None else now + by for uid, by in leases.items()}
    except OverflowError as error:
        raise StoreError(f"a lease would end at a time out of range: {error}; nothing was extended") from error
    found = [one for uids in _parts(sorted(leases), MOST_VALUES) for one in await held_by(database, place, uids)]
    stored = [one for one in found if not place.is_over(one.task)]
    held: list[HeldLease] = []
    for part in _parts(stored, AT_ONCE):
        held += await _extend(database, place, part, ends=ends, tries=TRIES)
    return Renewed(held=held, now=now)


async def held_by(database: Database, place: Place, uids: Sequence[str]) -> list[Stored]:
    """Return what leases hold, at most thirty of them; documents that Go has taken over are not held."""
    query = Query(TASKS).where(("env", "==", place.env), (LEASE, "in", list(uids)))
    stored, _ = place.read_all(await database.find(query))
    return [one for one in stored if one.task.lease_uid in uids]


async def _extend(
    database: Database, place: Place, stored: Sequence[Stored], *, ends: Mapping[str, datetime | None], tries: int
) -> list[HeldLease]:
    mark = new_mark()
    after = [(one, _extended(one.task, ends)) for one in stored]
    writes = [one.changed(task, mark=mark) for one, task in after if task is not one.task]
    is_late = functools.partial(_is_any_over, place, stored)
    if not writes or await database.commit(writes, mark=mark, is_late=is_late) is not None:
        return [_held(task) for _, task in after]
    if len(stored) > 1:
        first, rest = halves(stored)
        return [
            *await _extend(database, place, first, ends=ends, tries=tries),
            *await _extend(database, place, rest, ends=ends, tries=tries),
        ]
    again = (await place.load(database, [stored[0].task.id])).get(stored[0].task.id)
    if not isinstance(again, Stored) or again.task.lease_uid not in ends or place.is_over(again.task):
        return []
    if tries <= 1:
        return [msgspec.structs.replace(_held(again.task), is_extended=False)]
    return await _extend(database, place, [again], ends=ends, tries=tries - 1)


def _is_any_over(place: Place, stored: Sequence[Stored]) -> bool:
    return any(place.is_over(one.task) for one in stored)


def _extended(task: Task, ends: Mapping[str, datetime | None]) -> Task:
    end, until = ends[task.lease_uid or ""], task.leased_until
    if end is None or (until is not None and until >= end):
        return task
    return msgspec.structs.replace(task, leased_until=end)


def _held(task: Task) -> HeldLease:
    uid = task.lease_uid or ""
    return HeldLease(id=task.id, run_uid=task.run_uid, lease_uid=uid, cancel_requested=task.is_cancelled)


def _parts(many: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (many[start : start + size] for start in range(0, len(many), size))
