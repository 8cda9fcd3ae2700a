"""Renewing leases: rows that somebody else has locked are asked for again, for a moment, and nobody waits for them."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from oncetask_core.store import Renewed
from oncetask_sql.codec import Row
from oncetask_sql.mariadb.session import COMMIT, Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.mariadb.tries import PAUSES
from oncetask_sql.renewals import Leases, Seen
from oncetask_sql.times import micros_in
from oncetask_sql.wording import Wording

_LOCK: Final = """SELECT sequence, id, lease_uid, :now FROM oncetask_task FORCE INDEX (oncetask_task_leased)
    WHERE env = %(env)s AND lease_uid IN (%(leases)s) FOR UPDATE SKIP LOCKED"""
_EXTEND: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_sequence)
    SET leased_until = GREATEST(leased_until, %(until)s) WHERE sequence IN (%(rows)s)"""
_HELD: Final = """SELECT id, run_uid, lease_uid, is_cancelled FROM oncetask_task FORCE INDEX (oncetask_task_leased)
    WHERE env = %(env)s AND lease_uid IN (%(leases)s)"""


class _Renewal:
    """One renewal over one session."""

    def __init__(self, session: Session, wording: Wording, leases: Leases) -> None:
        self._session = session
        self._wording = wording
        self._leases = leases

    async def run(self) -> Renewed:
        seen = await self._ask([uid for uid, duration in self._leases.items() if duration is not None])
        for pause in PAUSES:
            locked = seen.locked(self._leases)
            if not locked:
                break
            await asyncio.sleep(pause)
            seen = seen.then(await self._ask(sorted(set(locked.values()))))
        return seen.answer(self._leases, self._wording.time)

    async def _ask(self, extended: list[str]) -> Seen:
        """Extend what these leases hold and nobody has locked; return what all of them hold."""
        reading = [said(self._wording, _HELD, leases=list(self._leases)), said(self._wording, NOW)]
        if not extended:
            held, ((now,),) = await self._session.batch(reading)
            return Seen({}, held, now)
        (rows,) = await self._session.begin([said(self._wording, _LOCK, leases=extended)])
        *_, held, ((now,),), _ = await self._session.batch([*self._extensions(rows), *reading, COMMIT])
        return Seen({task_id: micros for _, task_id, _, micros in rows}, held, now)

    def _extensions(self, rows: Sequence[Row]) -> list[Statement]:
        by_end: dict[int, list[int]] = defaultdict(list)
        for sequence, _, lease_uid, now in rows:
            duration = self._leases[lease_uid]
            if duration is not None:
                by_end[now + micros_in(duration)].append(sequence)
        return [said(self._wording, _EXTEND, rows=sequences, until=until) for until, sequences in by_end.items()]


async def renew(session: Session, wording: Wording, leases: Leases) -> Renewed:
    """Extend what the leases hold, where a duration is given, and return all that they hold."""
    return await _Renewal(session, wording, leases).run()
