"""Claiming: rows are locked and read in claim order, and leased by one statement; nobody waits for anybody's rows."""

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgspec
from asyncmy.errors import MySQLError

from oncetask_core.claims import Claim, claim_order, leased
from oncetask_core.limits import MAX_ERROR_BYTES, clean_text
from oncetask_core.seats import successors
from oncetask_core.store import Claimed
from oncetask_sql.codec import COLUMNS, SELECTED, Row, Task, UnreadableRowError, decode_all, reasons
from oncetask_sql.grants import in_order, is_head
from oncetask_sql.keys import Key
from oncetask_sql.mariadb.candidates import HELD_ROWS, LOW_ROWS, NEXT_DUE, READY_ROWS, SUSPECT_ROWS
from oncetask_sql.mariadb.failures import is_locked
from oncetask_sql.mariadb.seating import LOCK_STRIPES, STRIPES, finish
from oncetask_sql.mariadb.session import COMMIT, ROLLBACK, Session, Statement
from oncetask_sql.mariadb.statements import said
from oncetask_sql.mariadb.tries import TRIES
from oncetask_sql.schema import WAITING_FOR_SEAT
from oncetask_sql.times import from_micros, micros_in
from oncetask_sql.wording import Wording

_LOOKAHEAD: Final = 64
"""How many tasks that cannot join a group are passed over to find those that can."""
_SEQUENCE: Final = COLUMNS.index("sequence")

_HELD: Final = f"SELECT {SELECTED} {HELD_ROWS}"
_READY: Final = f"SELECT {SELECTED} {READY_ROWS} ORDER BY ready_at, sequence LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
_LOW: Final = f"SELECT {SELECTED} {LOW_ROWS} ORDER BY low_at, sequence LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
_SUSPECT: Final = f"SELECT {SELECTED} {SUSPECT_ROWS} ORDER BY suspect_at, sequence LIMIT 1 FOR UPDATE SKIP LOCKED"
_GRANT: Final = "SELECT :now, NEXTVAL(oncetask_epoch)"
_NEAR: Final = f"""SELECT sequence, strict_order, wait_until <= %(at)s AND crashes = 0
    FROM oncetask_task FORCE INDEX (oncetask_task_wait)
    WHERE env = %(env)s AND kind = %(kind)s AND waiting_key = CAST(%(key)s AS BINARY) AND {WAITING_FOR_SEAT}
    AND (wait_until <= %(at)s OR strict_order <> 0) ORDER BY seat_at, sequence LIMIT %(limit)s"""
_JOINING: Final = f"""SELECT {SELECTED} FROM oncetask_task FORCE INDEX (oncetask_task_sequence)
    WHERE sequence IN (%(rows)s) AND {WAITING_FOR_SEAT} AND wait_until <= %(at)s AND crashes = 0
    ORDER BY sequence FOR UPDATE SKIP LOCKED"""
_LEASE: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_sequence)
    SET lease_uid = %(lease)s, leased_by = %(leased_by)s, leased_until = %(until)s,
    started_at = %(at)s, in_cleanup = is_cancelled, claims = claims + 1, revision = revision + 1, epoch = %(epoch)s
    WHERE sequence IN (%(rows)s)"""
_SET_ASIDE: Final = """UPDATE oncetask_task SET quarantined = %(reason)s, head_key = NULL, lease_uid = NULL,
    leased_by = NULL, leased_until = NULL WHERE sequence = %(row)s"""
_KEY: Final = "SELECT kind, resource_key FROM oncetask_task WHERE sequence = %(row)s FOR UPDATE SKIP LOCKED"


class _DamagedError(Exception):
    """Ends a claim that has met rows that cannot be read: they are set aside, and the claim begins anew."""

    def __init__(self, faults: Sequence[UnreadableRowError]) -> None:
        super().__init__()
        self.faults = faults


class _Asking:
    """One attempt at a claim, in one transaction.

    Attributes:
        tasks: What is taken, the members of a group behind their head.
        at: The store's time of the grant in microseconds.
    """

    def __init__(self, session: Session, wording: Wording, asked: Claim) -> None:
        self._session = session
        self._wording = wording
        self._asked = asked
        self._epoch = 0
        self._tasks: list[Task] = []
        self._at = 0

    async def answer(self) -> Claimed:
        """Take what is due, or return what the lease holds already.

        Raises:
            _DamagedError: A row cannot be read; nothing was taken.
        """
        asked = self._asked
        stripe = STRIPES + crc32(asked.lease_uid.encode()) % STRIPES
        opening = [self._said(LOCK_STRIPES, stripes=[stripe]), self._said(_HELD, lease=asked.lease_uid)]
        looking = self._looking()
        _, held, *due, ((self._at, self._epoch),) = await self._session.begin([*opening, *looking, self._said(_GRANT)])
        if held:
            return await self._again(held)
        heads = self._first(due)
        for head in heads:
            self._tasks.append(head)
            room = asked.slots[head.kind].group - 1
            if head.resource_key is not None and room > 0 and not asked.suspects:
                self._tasks += await self._members(head, limit=room)
        return await self._grant()

    def _said(self, sql: str, **values: Any) -> Statement:
        return said(self._wording, sql, **values)

    def _looking(self) -> list[Statement]:
        """Return what reads and locks the heads of each kind."""
        if self._asked.suspects:
            return [self._said(_SUSPECT, kind=kind) for kind in self._asked.slots]
        return [
            self._said(sql, kind=kind, limit=max(slots.limit, 0))
            for kind, slots in self._asked.slots.items()
            for sql in (_READY, _LOW)
        ]

    def _first(self, due: Sequence[Sequence[Row]]) -> list[Task]:
        """Return the heads that are taken: of each kind as many as there are slots, in claim order."""
        read = [_read(rows) for rows in due]
        if self._asked.suspects:
            return sorted((task for tasks in read for task in tasks), key=claim_order)[:1]
        limits = [max(slots.limit, 0) for slots in self._asked.slots.values()]
        pairs = zip(read[::2], read[1::2], limits, strict=True)
        return [task for ready, low, limit in pairs for task in [*ready, *low][:limit]]

    async def _members(self, head: Task, *, limit: int) -> Sequence[Task]:
        """Return who joins the group of a head, locked: a row that somebody else has locked ends a strict order."""
        near = await self._session.rows(
            self._said(_NEAR, kind=head.kind, key=head.resource_key, at=self._at, limit=limit + _LOOKAHEAD)
        )
        joining = [sequence for sequence, _, joins in near if joins]
        if not joining:
            return ()
        locked = {
            row[_SEQUENCE]: row for row in await self._session.rows(self._said(_JOINING, rows=joining, at=self._at))
        }
        window: list[Row] = []
        for sequence, is_strict, _ in near:
            if sequence in locked:
                window.append(locked[sequence])
            elif is_strict:
                break
        return successors(head, _read(window), now=from_micros(self._at), limit=limit)

    async def _grant(self) -> Claimed:
        """Lease what was taken, and look ahead where slots are left."""
        asked, is_full = self._asked, self._is_full()
        now = from_micros(self._at)
        writing = self._leasing() if self._tasks else []
        dues = [] if is_full else [self._said(NEXT_DUE, kind=kind) for kind in asked.slots]
        results = await self._session.batch([*writing, *dues, COMMIT])
        times = [time for rows in results[len(writing) : -1] for (time,) in rows]
        granted = [leased(task, asked, now=now, epoch=self._epoch) for task in self._tasks]
        return Claimed(
            tasks=in_order(granted, asked),
            now=self._wording.time.seen(self._at),
            next_due=from_micros(min(times)) if times else None,
        )

    def _leasing(self) -> list[Statement]:
        asked = self._asked
        return [
            self._said(
                _LEASE,
                lease=asked.lease_uid,
                leased_by=asked.leased_by,
                until=self._at + micros_in(asked.lease_for),
                at=self._at,
                epoch=self._epoch,
                rows=sorted(task.sequence for task in self._tasks),
            )
        ]

    def _is_full(self) -> bool:
        if self._asked.suspects:
            return bool(self._tasks)
        used: dict[str, int] = {}
        for task in filter(is_head, self._tasks):
            used[task.kind] = used.get(task.kind, 0) + 1
        return all(used.get(kind, 0) >= slots.limit for kind, slots in self._asked.slots.items())

    async def _again(self, held: Sequence[Row]) -> Claimed:
        """Return what the lease holds already; nothing is taken."""
        await self._session.batch([ROLLBACK])
        tasks, faults = decode_all(held)
        now = self._wording.time.seen(self._at)
        return Claimed(tasks=in_order(tasks, self._asked), now=now, unreadable=reasons(faults))


def _read(rows: Sequence[Row]) -> list[Task]:
    tasks, faults = decode_all(rows)
    if faults:
        raise _DamagedError(faults)
    return tasks


async def claim(session: Session, wording: Wording, asked: Claim) -> Claimed:
    """Lease due tasks; a lease that holds tasks already gets those again."""
    unreadable: dict[str, str] = {}
    attempts = 0
    while True:
        try:
            answer = await _Asking(session, wording, asked).answer()
        except _DamagedError as damaged:
            await session.abandon()
            unreadable |= reasons(damaged.faults)
            for fault in damaged.faults:
                await _set_aside(session, wording, fault)
        except MySQLError as error:
            attempts += 1
            if attempts == TRIES or not is_locked(error):
                raise
        else:
            return msgspec.structs.replace(answer, unreadable={**unreadable, **answer.unreadable})


async def _set_aside(session: Session, wording: Wording, fault: UnreadableRowError) -> None:
    """Keep a row that cannot be read from holding up anybody: no claim sees it, and its key is free."""
    (rows,) = await session.begin([said(wording, _KEY, row=fault.sequence)])
    keys = {Key(kind, key) for kind, key in rows if key is not None}
    reason = clean_text(fault.reason, MAX_ERROR_BYTES)
    writing = [said(wording, _SET_ASIDE, row=fault.sequence, reason=reason)] if rows else []
    await finish(session, wording, writes=writing, keys=keys, clears=True)
