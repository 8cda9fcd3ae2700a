"""Renewing leases: rows that somebody else has locked are asked for again, for a moment, and nobody waits for them."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from oncetask_core.store import HeldLease, Renewed
from oncetask_sql.codec import Row
from oncetask_sql.mariadb.session import COMMIT, Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.mariadb.tries import PAUSES
from oncetask_sql.times import micros_in
from oncetask_sql.wording import Wording

_LOCK: Final = """SELECT sequence, id, lease_uid, :now FROM oncetask_task FORCE INDEX (oncetask_task_leased)
    WHERE env = %(env)s AND lease_uid IN (%(leases)s) FOR UPDATE SKIP LOCKED"""
_EXTEND: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_sequence)
    SET leased_until = GREATEST(leased_until, %(until)s) WHERE sequence IN (%(rows)s)"""
_HELD: Final = """SELECT id, run_uid, lease_uid, is_cancelled FROM oncetask_task FORCE INDEX (oncetask_task_leased)
    WHERE env = %(env)s AND lease_uid IN (%(leases)s)"""


class _Seen(NamedTuple):
    """What one request showed."""

    extended: dict[str, int]
    """When a lease was extended, by task id, in microseconds."""
    held: tuple[Row, ...]
    now: int


class _Renewal:
    """One renewal over one session."""

    def __init__(self, session: Session, wording: Wording, leases: Mapping[str, timedelta | None]) -> None:
        self._session = session
        self._wording = wording
        self._leases = leases

    async def run(self) -> Renewed:
        seen = await self._ask([uid for uid, duration in self._leases.items() if duration is not None])
        for pause in PAUSES:
            locked = self._locked(seen)
            if not locked:
                break
            await asyncio.sleep(pause)
            later = await self._ask(sorted(set(locked.values())))
            seen = _Seen(later.extended | seen.extended, later.held, later.now)
        locked = self._locked(seen)
        held = [
            HeldLease(
                id=task_id,
                run_uid=run_uid,
                lease_uid=lease_uid,
                cancel_requested=bool(is_cancelled),
                is_extended=task_id not in locked,
            )
            for task_id, run_uid, lease_uid, is_cancelled in seen.held
        ]
        moment = min(seen.extended.values(), default=seen.now)
        return Renewed(held=held, now=self._wording.time.seen(moment))

    async def _ask(self, extended: list[str]) -> _Seen:
        """Extend what these leases hold and nobody has locked; return what all of them hold."""
        reading = [said(self._wording, _HELD, leases=list(self._leases)), said(self._wording, NOW)]
        if not extended:
            held, ((now,),) = await self._session.batch(reading)
            return _Seen({}, tuple(held), now)
        (rows,) = await self._session.begin([said(self._wording, _LOCK, leases=extended)])
        *_, held, ((now,),), _ = await self._session.batch([*self._extensions(rows), *reading, COMMIT])
        return _Seen({task_id: micros for _, task_id, _, micros in rows}, tuple(held), now)

    def _extensions(self, rows: Sequence[Row]) -> list[Statement]:
        by_end: dict[int, list[int]] = defaultdict(list)
        for sequence, _, lease_uid, now in rows:
            duration = self._leases[lease_uid]
            if duration is not None:
                by_end[now + micros_in(duration)].append(sequence)
        return [said(self._wording, _EXTEND, rows=sequences, until=until) for until, sequences in by_end.items()]

    def _locked(self, seen: _Seen) -> dict[str, str]:
        """Return what is held and was to be extended, but was not: the lease by task id."""
        return {
            task_id: lease_uid
            for task_id, _, lease_uid, _ in seen.held
            if self._leases[lease_uid] is not None and task_id not in seen.extended
        }


async def renew(session: Session, wording: Wording, leases: Mapping[str, timedelta | None]) -> Renewed:
    """Extend what the leases hold, where a duration is given, and return all that they hold."""
    return await _Renewal(session, wording, leases).run()
