"""Renewing leases: one statement for each duration; nobody waits long for rows that somebody else has locked."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from oncetask_core.store import Renewed
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.failures import LOCKED
from oncetask_sql.postgresql.session import Session, Statement
from oncetask_sql.renewals import Leases, Seen
from oncetask_sql.times import micros_in
from oncetask_sql.wording import Wording

_OURS: Final = "env = %(env)s AND lease_uid IS NOT NULL AND lease_uid = ANY (%(leases)s::text[])"
_SET: Final = "UPDATE oncetask_task SET leased_until = greatest(leased_until, :now + %(duration)s)"
_EXTEND: Final = f"""{_SET} WHERE env = %(env)s AND id = ANY (ARRAY(
    SELECT id FROM oncetask_task WHERE {_OURS} ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)) AND {_OURS}
    RETURNING id, :now"""
_EXTEND_ONE: Final = f"{_SET} WHERE env = %(env)s AND id = %(id)s AND {_OURS} RETURNING id, :now"
_HELD: Final = f"SELECT id, run_uid, lease_uid, is_cancelled FROM oncetask_task WHERE {_OURS}"
_NOW: Final = "SELECT :now"


class _Renewal:
    """One renewal over one session."""

    def __init__(self, session: Session, wording: Wording, leases: Leases) -> None:
        self._session = session
        self._wording = wording
        self._leases = leases

    async def run(self) -> Renewed:
        seen = await self._ask(self._extensions())
        locked = seen.locked(self._leases)
        if locked:
            seen = seen.then(await self._insist(locked))
        return seen.answer(self._leases, self._wording.time)

    async def _ask(self, extensions: Collection[Statement]) -> Seen:
        """Extend what nobody has locked, and read what is held."""
        common = self._wording.parameters()
        reading: list[Statement] = [
            (self._wording.render(_HELD), {**common, "leases": texts(self._leases)}),
            (self._wording.render(_NOW), common),
        ]
        *extended, held, ((now,),) = await self._session.transaction([*extensions, *reading])
        return Seen({task_id: micros for rows in extended for task_id, micros in rows}, held, now)

    def _extensions(self) -> list[Statement]:
        by_duration: dict[timedelta, list[str]] = defaultdict(list)
        for lease_uid, duration in self._leases.items():
            if duration is not None:
                by_duration[duration].append(lease_uid)
        return [
            self._statement(_EXTEND, leases=texts(uids), duration=micros_in(duration))
            for duration, uids in by_duration.items()
        ]

    def _statement(self, sql: str, **values: object) -> Statement:
        return self._wording.render(sql), {**self._wording.parameters(), **values}

    async def _insist(self, locked: Mapping[str, str]) -> Seen:
        """Wait a moment for each row that somebody else had locked: what ended by that is not held any more."""
        extended: dict[str, int] = {}
        for task_id, lease_uid in locked.items():
            duration = self._leases[lease_uid]
            if duration is None:
                continue
            values = {"id": task_id, "leases": texts([lease_uid]), "duration": micros_in(duration)}
            try:
                (rows,) = await self._session.transaction([self._statement(_EXTEND_ONE, **values)])
            except LOCKED:
                break  # somebody keeps it: the others are tried with the next renewal
            extended |= dict(rows)
        return (await self._ask(()))._replace(extended=extended)


async def renew(session: Session, wording: Wording, leases: Leases) -> Renewed:
    """Extend what the leases hold, where a duration is given, and return all that they hold."""
    return await _Renewal(session, wording, leases).run()
