"""Applying atoms: those of one task each go together, the others one by one."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from asyncmy.errors import MySQLError

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Transition, Verdict, judge
from oncetask_sql.advancing import ADVANCING
from oncetask_sql.codec import SELECTED, Task, UnreadableRowError, decode
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.keys import keys_of
from oncetask_sql.mariadb import inserting, seating, writes
from oncetask_sql.mariadb.failures import ROW_ERRORS, is_duplicate, is_locked
from oncetask_sql.mariadb.session import Session, Statement
from oncetask_sql.mariadb.statements import NOW, said
from oncetask_sql.mariadb.tries import PAUSES, TRIES
from oncetask_sql.mariadb.writes import Locked
from oncetask_sql.wording import Wording

_APPLIED: Final = Answer(verdict=Verdict.APPLIED)
_READ: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id IN (%(ids)s)"


class _Part(NamedTuple):
    """What a transaction does to one task."""

    guard: Guard
    statement: Statement | None
    """None removes the task."""
    seats: bool
    """Whether its key's seat may change hands."""


class Writer:
    """Writes transitions over one session.

    Args:
        session: The connection.
        wording: How statements are worded.
    """

    def __init__(self, session: Session, wording: Wording) -> None:
        self._session = session
        self._wording = wording

    async def apply(self, atoms: Sequence[Atom]) -> list[Answer]:
        """Write each atom whose guards hold; return one answer per atom, in order."""
        answers: dict[int, Answer] = {}
        wave: dict[int, Transition] = {}
        ids: set[str] = set()
        for position, atom in enumerate(atoms):
            single = atom.transitions[0] if len(atom.transitions) == 1 and not atom.inserts else None
            if single is None or single.guard.id in ids:
                answers |= await self._apply_wave(wave)
                wave, ids = {}, set()
            if single is None:
                answers[position] = await self._apply_whole(atom)
            else:
                wave[position] = single
                ids.add(single.guard.id)
        answers |= await self._apply_wave(wave)
        return [answers[position] for position in range(len(atoms))]

    async def delete(self, guards: Sequence[Guard]) -> list[Verdict]:
        """Remove each task whose guard holds; return one verdict per guard, in order."""
        verdicts: dict[int, Verdict] = {}
        left = dict(enumerate(guards))
        while left:
            once = {guard.id: position for position, guard in reversed(left.items())}
            wave = {position: left.pop(position) for position in sorted(once.values())}
            deleted = await self._write_all([_Part(guard, None, seats=True) for guard in wave.values()], clears=True)
            refused = [guard for guard in wave.values() if guard.id not in deleted]
            judged = await self._judged(refused)
            for position, guard in wave.items():
                verdicts[position] = Verdict.APPLIED if guard.id in deleted else judged[guard.id].verdict
        return [verdicts[position] for position in range(len(guards))]

    async def _apply_wave(self, wave: Mapping[int, Transition]) -> dict[int, Answer]:
        """Write transitions of different tasks, which therefore do not see each other."""
        if not wave:
            return {}
        done, broken = await self._write(list(wave.values()))
        refused = [one.guard for one in wave.values() if one.guard.id not in done and one.guard.id not in broken]
        judged = await self._judged(refused)
        known = {**dict.fromkeys(done, _APPLIED), **broken, **judged}
        return {position: known[one.guard.id] for position, one in wave.items()}

    async def _write(self, transitions: Sequence[Transition]) -> tuple[set[str], dict[str, Answer]]:
        """Return the ids of what was written, and the answers of what cannot be; halves what fails as a whole."""
        clears = any(one.event in ADVANCING for one in transitions)
        try:
            return await self._write_all([self._part(one) for one in transitions], clears=clears), {}
        except ROW_ERRORS as error:
            if len(transitions) == 1:
                return set(), {transitions[0].guard.id: _broken(transitions[0].guard.id, error)}
        half = len(transitions) // 2
        done, broken = await self._write(transitions[:half])
        more_done, more_broken = await self._write(transitions[half:])
        return done | more_done, broken | more_broken

    def _part(self, one: Transition) -> _Part:
        return _Part(one.guard, writes.writing(self._wording, one), seats=one.bumps_revision)

    async def _write_all(self, parts: Sequence[_Part], *, clears: bool) -> set[str]:
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

    async def _judged(self, guards: Sequence[Guard]) -> dict[str, Answer]:
        """Return why the guards of different tasks refused.

        One that holds by now, or whose row somebody else has locked, reads as changed: decide again.
        """
        if not guards:
            return {}
        reading = said(self._wording, _READ, ids=[guard.id for guard in guards])
        rows, ((micros,),) = await self._session.batch([reading, said(self._wording, NOW)])
        now = self._wording.time.seen(micros)
        answers: dict[str, Answer] = {}
        tasks: dict[str, Task] = {}
        for row in rows:
            try:
                task = decode(row)
                tasks[task.id] = task
            except UnreadableRowError as fault:
                answers[fault.task_id] = Answer(verdict=Verdict.BROKEN, error=fault)
        for guard in guards:
            verdict = judge(guard, tasks.get(guard.id), now)
            decisive = Verdict.CHANGED if verdict is Verdict.APPLIED else verdict
            answers.setdefault(guard.id, Answer(verdict=decisive, task=tasks.get(guard.id)))
        return answers

    async def _apply_whole(self, atom: Atom) -> Answer:
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
                return _broken_atom(error)
            except (StoreError, *ROW_ERRORS) as error:
                return _broken_atom(error)
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
            return await self._refusal(atom, refused)
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

    async def _refusal(self, atom: Atom, refused: Sequence[Guard]) -> Answer:
        """Return the answer of the first guard that refused; "already applied" only if all of them say so."""
        judged = await self._judged(refused)
        answers = [judged[guard.id] for guard in refused]
        decisive = next((one for one in answers if one.verdict is not Verdict.ALREADY), answers[0])
        if decisive.verdict is Verdict.ALREADY and len(refused) < len(atom.transitions):
            return Answer(verdict=Verdict.LEASE_LOST, task=decisive.task)
        return decisive


def _broken_atom(error: Exception) -> Answer:
    cause = error if isinstance(error, StoreError) else StoreError(f"the atom cannot be written: {error}")
    return Answer(verdict=Verdict.BROKEN, error=cause)


def _broken(task_id: str, error: Exception) -> Answer:
    broken = StoreError(f"task {task_id!r} cannot be written: {error}")
    broken.__cause__ = error
    return Answer(verdict=Verdict.BROKEN, error=broken)
