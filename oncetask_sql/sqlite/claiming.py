"""Claiming: which tasks are taken is read in claim order, and all of them are leased by one statement."""

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Final, NamedTuple

from oncetask_core.claims import Claim, claim_order, leased
from oncetask_core.limits import LOWEST_PRIORITY, MAX_ERROR_BYTES, clean_text
from oncetask_core.seats import successors
from oncetask_core.store import Claimed
from oncetask_core.task import PRIORITY_STEP
from oncetask_sql.codec import SELECTED, Row, Task, UnreadableRowError, decode, decode_all, reasons
from oncetask_sql.schema import CLAIMABLE, LIVE, LOW, READY, SUSPECT, WAITING_FOR_SEAT
from oncetask_sql.sqlite.seating import seat
from oncetask_sql.sqlite.transaction import Transaction
from oncetask_sql.times import from_micros, micros_in, to_micros

_BEGIN: Final = """SELECT clock_at, epoch,
    EXISTS (SELECT 1 FROM oncetask_task WHERE env = ? AND lease_uid = ?) FROM oncetask_meta"""
_HELD: Final = f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_leased
    WHERE env = ? AND lease_uid = ? ORDER BY epoch"""
_READY: Final = f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_ready
    WHERE env = ? AND kind = ? AND order_at <= ? AND wait_until <= ? AND {READY}
    ORDER BY order_at, sequence LIMIT ?"""
_LOW: Final = f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_low
    WHERE env = ? AND kind = ? AND order_at > ? AND order_at <= ? AND wait_until <= ? AND {LOW}
    ORDER BY order_at, sequence LIMIT ?"""
_SUSPECT: Final = f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_suspect
    WHERE env = ? AND kind = ? AND wait_until <= ? AND {SUSPECT} AND {CLAIMABLE}
    ORDER BY order_at, sequence LIMIT 1"""
_OF_KEY: Final = f"""SELECT {SELECTED} FROM oncetask_task INDEXED BY oncetask_task_wait
    WHERE env = ? AND kind = ? AND resource_key = ? AND {WAITING_FOR_SEAT} ORDER BY seat_at, sequence"""
_LEASE: Final = """UPDATE oncetask_task SET lease_uid = ?, leased_by = ?, leased_until = ?, started_at = ?,
    in_cleanup = is_cancelled, claims = claims + 1, revision = revision + 1, epoch = ? + place.key
    FROM json_each(?) AS place WHERE oncetask_task.sequence = place.value"""
_COUNT: Final = "UPDATE oncetask_meta SET epoch = ?, clock_at = max(clock_at, ?)"
_SET_ASIDE: Final = """UPDATE oncetask_task SET quarantined = ?, head_key = NULL
    WHERE sequence = ? RETURNING kind, resource_key"""
_LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
"""The last time that can be read; a damaged row beyond it, or with a text, must not make claims fail."""
_NEXT_DUE: Final = f"""SELECT min(wait_until) FROM oncetask_task INDEXED BY oncetask_task_live
    WHERE env = ? AND kind = ? AND wait_until > ? AND wait_until <= {_LATEST}
    AND {LIVE} AND lease_uid IS NULL AND quarantined IS NULL"""

_LONGEST_DELAY = micros_in(-LOWEST_PRIORITY * PRIORITY_STEP)
"""How far behind its time the lowest priority puts a task in the claim order."""


class _Picked(NamedTuple):
    """What a claim would take, found without writing."""

    tasks: list[Task]
    is_full: bool
    """Whether every slot that was asked for is used."""
    unreadable: list[UnreadableRowError]


def claim(tx: Transaction, asked: Claim) -> Claimed:
    """Lease due tasks; a lease that holds tasks already gets those again. Nothing due, nothing written."""
    epoch, held = _begin(tx, asked)
    if held is not None:
        return held
    unreadable: dict[str, str] = {}
    while (picked := _pick(tx, asked)).unreadable:
        unreadable |= reasons(picked.unreadable)
        _set_aside(tx, picked.unreadable)
    granted = _lease(tx, asked, picked.tasks, epoch=epoch) if picked.tasks else []
    due = None if picked.is_full else _next_due(tx, asked)
    return Claimed(tasks=granted, now=tx.now, next_due=due, unreadable=unreadable)


def look(tx: Transaction, asked: Claim) -> Claimed | None:
    """Return what a claim would answer without writing anything; None where it would write."""
    _, held = _begin(tx, asked)
    if held is not None:
        return held
    picked = _pick(tx, asked)
    if picked.tasks or picked.unreadable:
        return None
    return Claimed(tasks=(), now=tx.now, next_due=None if picked.is_full else _next_due(tx, asked))


def _begin(tx: Transaction, asked: Claim) -> tuple[int, Claimed | None]:
    """Read the time; return the last fence number, and what the lease holds already, if anything."""
    clock_at, epoch, holds = tx.all(_BEGIN, (tx.env, asked.lease_uid))[0]
    tx.settle_time(clock_at)
    if not holds:
        return epoch, None
    tasks, faults = decode_all(tx.all(_HELD, (tx.env, asked.lease_uid)))
    return epoch, Claimed(tasks=tasks, now=tx.now, unreadable=reasons(faults))


def _pick(tx: Transaction, asked: Claim) -> _Picked:
    return _pick_suspect(tx, asked) if asked.suspects else _pick_others(tx, asked)


def _pick_suspect(tx: Transaction, asked: Claim) -> _Picked:
    rows = [row for kind in asked.slots for row in tx.all(_SUSPECT, (tx.env, kind, tx.micros))]
    tasks, faults = decode_all(rows)
    first = sorted(tasks, key=claim_order)[:1]
    return _Picked(first, is_full=bool(first), unreadable=faults)


def _pick_others(tx: Transaction, asked: Claim) -> _Picked:
    tasks: list[Task] = []
    faults: list[UnreadableRowError] = []
    is_full = True
    for kind, slots in asked.slots.items():
        heads, damaged = decode_all(_due(tx, kind, limit=max(slots.limit, 0)))
        faults += damaged
        is_full = is_full and len(heads) >= slots.limit
        for head in heads:
            tasks.append(head)
            if head.resource_key is not None and slots.group > 1:
                tasks += _successors(tx, head, limit=slots.group - 1, faults=faults)
    return _Picked(tasks, is_full=is_full, unreadable=faults)


def _due(tx: Transaction, kind: str, *, limit: int) -> list[Row]:
    """Return the rows that a claim takes of a kind, in claim order.

    Due tasks stand in the order at or before now; only those of a priority below zero may stand behind it.
    """
    now = tx.micros
    rows = tx.all(_READY, (tx.env, kind, now, now, limit))
    if len(rows) < limit:
        rows += tx.all(_LOW, (tx.env, kind, now, now + _LONGEST_DELAY, now, limit - len(rows)))
    return rows


def _successors(tx: Transaction, head: Task, *, limit: int, faults: list[UnreadableRowError]) -> Sequence[Task]:
    """Return who joins the group of a head: rows of its key are read in order until nobody more can join."""
    window: list[Task] = []
    joining = 0
    with closing(tx.each(_OF_KEY, (tx.env, head.kind, head.resource_key))) as rows:
        for row in rows:
            try:
                task = decode(row)
            except UnreadableRowError as fault:
                faults.append(fault)
                continue
            window.append(task)
            is_due = task.wait_until <= tx.now
            joining += is_due and not task.is_suspect
            if joining == limit or not (is_due or task.strict_order):
                break
    return successors(head, window, now=tx.now, limit=limit)


def _lease(tx: Transaction, asked: Claim, tasks: Sequence[Task], *, epoch: int) -> list[Task]:
    until = tx.micros + micros_in(asked.lease_for)
    places = json.dumps([task.sequence for task in tasks])
    tx.all(_LEASE, (asked.lease_uid, asked.leased_by, until, tx.micros, epoch + 1, places))
    tx.all(_COUNT, (epoch + len(tasks), tx.micros))
    now = tx.now
    return [leased(task, asked, now=now, epoch=number) for number, task in enumerate(tasks, start=epoch + 1)]


def _set_aside(tx: Transaction, faults: Sequence[UnreadableRowError]) -> None:
    """Keep rows that cannot be read from holding up anybody: no claim sees them, and their keys are free."""
    for fault in faults:
        reason = clean_text(fault.reason, MAX_ERROR_BYTES)
        for kind, resource_key in tx.all(_SET_ASIDE, (reason, fault.sequence)):
            tx.touch(kind, resource_key)
    seat(tx)


def _next_due(tx: Transaction, asked: Claim) -> datetime | None:
    times = [tx.all(_NEXT_DUE, (tx.env, kind, tx.micros))[0][0] for kind in asked.slots]
    return min((from_micros(time) for time in times if time is not None), default=None)
