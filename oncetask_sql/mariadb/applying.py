"""Applying atoms: those of one task each go together, the others one by one."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from asyncmy.errors import MySQLError

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Transition, Verdict
from oncetask_sql import waves
from oncetask_sql.advancing import ADVANCING
from oncetask_sql.codec import SELECTED, Row
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.keys import keys_of
from oncetask_sql.mariadb import inserting, seating, writes
from oncetask_sql.mariadb.failures import ROW_ERRORS, is_duplicate, is_locked
from oncetask_sql.mariadb.session import Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.mariadb.tries import PAUSES, TRIES
from oncetask_sql.mariadb.writes import Locked
from oncetask_sql.wording import Wording

_READ: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id IN (%(ids)s)"


class _Part(NamedTuple):
    """What a transaction does to one task."""

    guard: Guard
    statement: Statement | None
    """None removes the task."""
    seats: bool
    """Whether its key's seat may change hands."""


class Writer:
    """Writes transitions over one session; implements `waves.Writes`.

    Args:
        session: The connection.
        wording: How statements are worded.
    """

    row_errors = ROW_ERRORS

    def __init__(self, session: Session, wording: Wording) -> None:
        self._session = session
        self._wording = wording

    async def write_all(self, transitions: Sequence[Transition]) -> set[str]:
        """Write transitions of different tasks whose guards hold; return the ids of what was written."""
        clears = any(one.event in ADVANCING for one in transitions)
        return await self._write_parts([self._part(one) for one in transitions], clears=clears)

    async def delete_all(self, guards: Sequence[Guard]) -> set[str]:
        """Remove different tasks whose guards hold; return the ids of those."""
        return await self._write_parts([_Part(guard, None, seats=True) for guard in guards], clears=True)

    async def read(self, ids: Sequence[str]) -> tuple[Sequence[Row], datetime]:
        """Return the rows of tasks, and the store's time."""
        reading = said(self._wording, _READ, ids=ids)
        rows, ((micros,),) = await self._session.batch([reading, said(self._wording, NOW)])
        return rows, self._wording.time.seen(micros)

    def _part(self, one: Transition) -> _Part:
        return _Part(one.guard, writes.writing(self._wording, one), seats=one.bumps_revision)

    async def _write_parts(self, parts: Sequence[_Part], *, clears: bool) -> set[str]:
        """Write what guards let through, and come back for what others have locked; return the ids of it."""
        done: set[str] = set()
        left = {part.guard.id: part for part in parts}
        for pause in (*PAUSES, None):
            written, unseen = await self._write_some(left, clears=clears)
            done |= written
            existing = await self._existing(unseen)
            left = {task_id: part for task_id, part in left.items() if task_id in existing}
            if not left or pause is None:
                break
            await asyncio.sleep(pause)
        return done

    async def _write_some(self, parts: Mapping[str, _Part], *, clears: bool) -> tuple[set[str], set[str]]:
        """Return the ids of what was written, and of what was not found unlocked; nothing of it if it raises.

        The keys of what a guard refuses are seated, too: a holder that has completed its task in a transaction of its
        own asks for that here, rather than wait for what that transaction has noted.
        """
        for attempt in range(TRIES):
            try:
                (found,) = await self._session.begin([writes.locking(self._wording, parts)])
                rows = [Locked._make(row) for row in found]
                passing = [row for row in rows if row.passes(parts[row.id].guard)]
                statements = [text for row in passing if (text := parts[row.id].statement) is not None]
                if gone := [row for row in passing if parts[row.id].statement is None]:
                    statements.append(writes.deleting(self._wording, gone))
                keys = {row.key for row in rows if parts[row.id].seats and row.key is not None}
                await seating.finish(self._session, self._wording, writes=statements, keys=keys, clears=clears)
                return {row.id for row in passing}, parts.keys() - {row.id for row in rows}
            except MySQLError as error:
                if attempt == TRIES - 1 or not (is_locked(error) or is_duplicate(error)):
                    raise
        raise AssertionError

    async def _existing(self, ids: Collection[str]) -> set[str]:
        if not ids:
            return set()
        return {
            task_id for (task_id,) in await self._session.rows(said(self._wording, writes.EXISTING, ids=sorted(ids)))
        }

    async def apply_whole(self, atom: Atom) -> Answer:
        """Write an atom of several parts, or nothing of it."""
        for attempt in range(TRIES):
            try:
                answer = await self._apply_once(atom)
            except MySQLError as error:
                if is_locked(error) or is_duplicate(error):
                    if attempt == TRIES - 1:
                        raise
                    await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
                    continue
                if not isinstance(error, ROW_ERRORS):
                    raise
                return waves.broken_atom(error)
            except (StoreError, *ROW_ERRORS) as error:
                return waves.broken_atom(error)
            if answer.verdict is not Verdict.CHANGED or attempt >= len(PAUSES) or not await self._is_held_up(atom):
                return answer
            await asyncio.sleep(PAUSES[attempt])
        raise AssertionError

    async def _apply_once(self, atom: Atom) -> Answer:
        statements = [writes.writing(self._wording, one) for one in atom.transitions]
        ids = {one.guard.id for one in atom.transitions}
        (found,) = await self._session.begin([writes.locking(self._wording, ids)])
        rows = {row.id: row for row in map(Locked._make, found)}
        refused: list[Guard] = []
        for one in atom.transitions:
            row = rows.get(one.guard.id)
            if row is None or not row.passes(one.guard):
                refused.append(one.guard)
            else:
                rows[row.id] = row.after(one)
        if refused:
            await self._session.abandon()
            return await waves.refusal(self, atom, refused)
        existing = await inserting.known(self._session, self._wording, [new.id for new in atom.inserts])
        missing = [new for new in distinct(atom.inserts) if new.id not in existing]
        keys = keys_of(missing) | {row.key for row in rows.values() if row.key is not None}
        statements += inserting.insertion(self._wording, missing) if missing else []
        await seating.finish(self._session, self._wording, writes=statements, keys=keys, clears=True)
        inserted = tuple(answers_of(atom.inserts, {new.id for new in missing}, existing))
        return Answer(verdict=Verdict.APPLIED, inserted=inserted)

    async def _is_held_up(self, atom: Atom) -> bool:
        """Return whether somebody has a row of the atom locked, rather than changed it."""
        ids = {one.guard.id for one in atom.transitions}
        (found,) = await self._session.transaction([writes.locking(self._wording, ids)])
        return bool(await self._existing(ids - {row[1] for row in found}))
