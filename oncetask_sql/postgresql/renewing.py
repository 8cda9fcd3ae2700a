"""Renewing leases: one statement for each duration; nobody waits long for rows that somebody else has locked."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from oncetask_core.store import HeldLease, Renewed
from oncetask_sql.codec import Row
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.failures import LOCKED
from oncetask_sql.postgresql.session import Session, Statement
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


class _Seen(NamedTuple):
    """What one request showed."""

    extended: dict[str, int]
    """When a lease was extended, by task id, in microseconds."""
    held: list[Row]
    now: int


class _Renewal:
    """One renewal over one session."""

    def __init__(self, session: Session, wording: Wording, leases: Mapping[str, timedelta | None]) -> None:
        self._session = session
        self._wording = wording
        self._leases = leases

    async def run(self) -> Renewed:
        seen = await self._ask(self._extensions())
        locked = self._locked(seen)
        if locked:
            later = await self._insist(locked)
            seen = _Seen(seen.extended | later.extended, later.held, later.now)
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

    async def _ask(self, extensions: Collection[Statement]) -> _Seen:
        """Extend what nobody has locked, and read what is held."""
        common = self._wording.parameters()
        reading: list[Statement] = [
            (self._wording.render(_HELD), {**common, "leases": texts(self._leases)}),
            (self._wording.render(_NOW), common),
        ]
        *extended, held, ((now,),) = await self._session.transaction([*extensions, *reading])
        return _Seen({task_id: micros for rows in extended for task_id, micros in rows}, held, now)

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

    def _locked(self, seen: _Seen) -> dict[str, str]:
        """Return what is held and was to be extended, but was not: the lease by task id."""
        return {
            task_id: lease_uid
            for task_id, _, lease_uid, _ in seen.held
            if self._leases[lease_uid] is not None and task_id not in seen.extended
        }

    async def _insist(self, locked: Mapping[str, str]) -> _Seen:
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
        seen = await self._ask(())
        return _Seen(extended, seen.held, seen.now)


async def renew(session: Session, wording: Wording, leases: Mapping[str, timedelta | None]) -> Renewed:
    """Extend what the leases hold, where a duration is given, and return all that they hold."""
    return await _Renewal(session, wording, leases).run()
