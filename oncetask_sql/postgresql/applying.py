"""Applying atoms: those of one task each go together, the others one by one."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Transition, Verdict
from oncetask_sql import waves
from oncetask_sql.advancing import ADVANCING
from oncetask_sql.codec import SELECTED, Row
from oncetask_sql.forms import Form, Write, change, grouped
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.keys import Key, keys_of, keys_touched
from oncetask_sql.postgresql import inserting, seating
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.failures import ROW_ERRORS, unless_locked
from oncetask_sql.postgresql.session import COMMIT, Session, Statement
from oncetask_sql.postgresql.writes import statement
from oncetask_sql.wording import Wording

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

    async def delete_all(self, guards: Sequence[Guard]) -> set[str]:
        """Remove different tasks whose guards hold; return the ids of those."""
        return await _tried(partial(self._delete_whole, [Write(guard, None) for guard in guards]))

    async def _delete_whole(self, writes: Sequence[Write], *, waits: bool) -> set[str]:
        """Delete, then seat the keys of what is gone: they are known from the reply alone."""
        parts = self._parts(writes, grouped(writes), waits=waits)
        rows = [row for part in await self._session.begin(parts) for row in part]
        keys = {Key(kind, key) for _, kind, key in rows if key is not None}
        await self._session.batch([*seating.seat_keys(self._wording, keys, clears=True), COMMIT])
        return {task_id for task_id, _, _ in rows}

    async def read(self, ids: Sequence[str]) -> tuple[Sequence[Row], datetime]:
        """Return the rows of tasks, and the store's time."""
        values = {**self._wording.parameters(), "ids": texts(ids)}
        reading: list[Statement] = [(self._wording.render(_READ), values), (self._wording.render(_NOW), values)]
        rows, ((micros,),) = await self._session.batch(reading)
        return rows, self._wording.time.seen(micros)

    async def apply_whole(self, atom: Atom) -> Answer:
        """Write an atom of several parts, or nothing of it."""
        try:
            return await _tried(partial(self._apply_once, atom))
        except (StoreError, *ROW_ERRORS) as error:
            return waves.broken_atom(error)

    async def _apply_once(self, atom: Atom, *, waits: bool) -> Answer:
        parts = [statement(self._wording, form, [write], waits=waits) for write, form in _singly(atom)]
        insertion = [inserting.insertion(self._wording, distinct(atom.inserts))] if atom.inserts else []
        results = await self._session.begin([*parts, *insertion])
        refused = [one.guard for one, rows in zip(atom.transitions, results, strict=False) if not rows]
        if refused:
            await self._session.abandon()
            return await waves.refusal(self, atom, refused)
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


async def _tried(attempt: Attempt[T]) -> T:
    """Return what an attempt returns that no lock stopped: the first one waits for rows, the others go on without."""
    return await unless_locked(lambda number: attempt(waits=number == 0), tries=_TRIES)


def _singly(atom: Atom) -> list[tuple[Write, Form]]:
    writes = [change(one) for one in atom.transitions]
    return [(write, grouped([write])[0][0]) for write in writes]
