"""Applying atoms: those of one task each go together, the others one by one."""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Protocol, TypeVar

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Transition, Verdict, judge
from oncetask_sql.advancing import ADVANCING
from oncetask_sql.codec import SELECTED, Task, UnreadableRowError, decode
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.keys import Key, keys_of, keys_touched
from oncetask_sql.postgresql import inserting, seating
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.failures import LOCKED, ROW_ERRORS
from oncetask_sql.postgresql.session import COMMIT, Session, Statement
from oncetask_sql.postgresql.writes import Form, Write, change, grouped, statement
from oncetask_sql.wording import Wording

_APPLIED = Answer(verdict=Verdict.APPLIED)
_READ = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id = ANY (%(ids)s::text[])"
_NOW = "SELECT :now"
_TRIES = 20

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Attempt(Protocol[T_co]):
    """Writes something in one transaction."""

    async def __call__(self, *, waits: bool) -> T_co:
        """Write it; wait for rows that somebody else has locked, or leave them as they are."""


class Writer:
    """Writes transitions over one session.

    Args:
        session: The connection.
        wording: How statements are worded.
    """

    def __init__(self, session: Session, wording: Wording) -> None:
        self._session = session
        self._wording = wording

    @staticmethod
    def makes_work(atoms: Sequence[Atom]) -> bool:
        """Return whether other processes may find more to claim afterwards than by waiting for keys and times."""
        return any(atom.inserts or any(one.event in ADVANCING for one in atom.transitions) for atom in atoms)

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
            deleted = await self._delete_some(list(wave.values()))
            refused = [guard for guard in wave.values() if guard.id not in deleted]
            judged = await self._judged(refused)
            for position, guard in wave.items():
                verdicts[position] = Verdict.APPLIED if guard.id in deleted else judged[guard.id].verdict
        return [verdicts[position] for position in range(len(guards))]

    async def _apply_wave(self, wave: dict[int, Transition]) -> dict[int, Answer]:
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
        try:
            return await self._write_whole(transitions), {}
        except ROW_ERRORS as error:
            if len(transitions) == 1:
                return set(), {transitions[0].guard.id: _broken(transitions[0].guard.id, error)}
        half = len(transitions) // 2
        done, broken = await self._write(transitions[:half])
        more_done, more_broken = await self._write(transitions[half:])
        return done | more_done, broken | more_broken

    async def _write_whole(self, transitions: Sequence[Transition]) -> set[str]:
        writes = [change(one) for one in transitions]
        forms = grouped(writes)
        keys = keys_touched(transitions)
        clears = any(one.event in ADVANCING for one in transitions)
        ending = seating.seat_keys(self._wording, keys, clears=clears)

        async def attempt(*, waits: bool) -> set[str]:
            parts = self._parts(writes, forms, waits=waits)
            results = await self._session.transaction([*parts, *ending])
            return {task_id for rows in results[: len(parts)] for task_id, _, _ in rows}

        return await _tried(attempt)

    def _parts(
        self, writes: Sequence[Write], forms: Sequence[tuple[Form, Sequence[int]]], *, waits: bool
    ) -> list[Statement]:
        return [
            statement(self._wording, form, [writes[position] for position in positions], waits=waits)
            for form, positions in forms
        ]

    async def _delete_some(self, guards: Sequence[Guard]) -> set[str]:
        return await _tried(partial(self._delete_whole, [Write(guard, None) for guard in guards]))

    async def _delete_whole(self, writes: Sequence[Write], *, waits: bool) -> set[str]:
        """Delete, then seat the keys of what is gone: they are known from the reply alone."""
        parts = self._parts(writes, grouped(writes), waits=waits)
        rows = [row for part in await self._session.begin(parts) for row in part]
        keys = {Key(kind, key) for _, kind, key in rows if key is not None}
        await self._session.batch([*seating.seat_keys(self._wording, keys, clears=True), COMMIT])
        return {task_id for task_id, _, _ in rows}

    async def _judged(self, guards: Sequence[Guard]) -> dict[str, Answer]:
        """Return why the guards of different tasks refused.

        One that holds by now, or whose row somebody else has locked, reads as changed: decide again.
        """
        if not guards:
            return {}
        values = {**self._wording.parameters(), "ids": texts(guard.id for guard in guards)}
        reading: list[Statement] = [(self._wording.render(_READ), values), (self._wording.render(_NOW), values)]
        rows, ((micros,),) = await self._session.batch(reading)
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
        try:
            return await _tried(partial(self._apply_once, atom))
        except (StoreError, *ROW_ERRORS) as error:
            cause = error if isinstance(error, StoreError) else StoreError(f"the atom cannot be written: {error}")
            return Answer(verdict=Verdict.BROKEN, error=cause)

    async def _apply_once(self, atom: Atom, *, waits: bool) -> Answer:
        parts = [statement(self._wording, form, [write], waits=waits) for write, form in _singly(atom)]
        insertion = [inserting.insertion(self._wording, distinct(atom.inserts))] if atom.inserts else []
        results = await self._session.begin([*parts, *insertion])
        refused = [one.guard for one, rows in zip(atom.transitions, results, strict=False) if not rows]
        if refused:
            await self._session.abandon()
            return await self._refusal(atom, refused)
        created = {task_id for (task_id,) in results[-1]} if insertion else set()
        keys = keys_of(atom.inserts)
        keys |= {Key(kind, key) for rows in results[: len(parts)] for _, kind, key in rows if key is not None}
        existing = await inserting.known(
            self._session, self._wording, [new.id for new in atom.inserts if new.id not in created]
        )
        ending = seating.seat_keys(self._wording, keys, clears=True)
        await self._session.batch([*ending, COMMIT])
        inserted = tuple(answers_of(atom.inserts, created, existing))
        return Answer(verdict=Verdict.APPLIED, inserted=inserted)

    async def _refusal(self, atom: Atom, refused: Sequence[Guard]) -> Answer:
        """Return the answer of the first guard that refused; "already applied" only if all of them say so."""
        judged = await self._judged(refused)
        answers = [judged[guard.id] for guard in refused]
        decisive = next((one for one in answers if one.verdict is not Verdict.ALREADY), answers[0])
        if decisive.verdict is Verdict.ALREADY and len(refused) < len(atom.transitions):
            return Answer(verdict=Verdict.LEASE_LOST, task=decisive.task)
        return decisive


async def _tried(attempt: Attempt[T]) -> T:
    """Return what an attempt returns that no lock stopped: the first one waits for rows, the others go on without."""
    for number in range(_TRIES - 1):
        with contextlib.suppress(*LOCKED):
            return await attempt(waits=number == 0)
    return await attempt(waits=False)


def _singly(atom: Atom) -> list[tuple[Write, Form]]:
    writes = [change(one) for one in atom.transitions]
    return [(write, grouped([write])[0][0]) for write in writes]


def _broken(task_id: str, error: Exception) -> Answer:
    broken = StoreError(f"task {task_id!r} cannot be written: {error}")
    broken.__cause__ = error
    return Answer(verdict=Verdict.BROKEN, error=broken)
