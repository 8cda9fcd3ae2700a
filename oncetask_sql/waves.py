"""Atoms as the stores on servers write them: those of one task each go together, the others one by one."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Transition, Verdict, judge
from oncetask_sql.codec import Row, Task, UnreadableRowError, decode

_APPLIED: Final = Answer(verdict=Verdict.APPLIED)


class Writes(Protocol):
    """What is written over one session."""

    @property
    def row_errors(self) -> tuple[type[Exception], ...]:
        """What one row alone is to blame for."""
        ...

    async def write_all(self, transitions: Sequence[Transition], /) -> Collection[str]:
        """Write transitions of different tasks whose guards hold; return the ids of what was written."""
        ...

    async def delete_all(self, guards: Sequence[Guard], /) -> Collection[str]:
        """Remove different tasks whose guards hold; return the ids of those."""
        ...

    async def apply_whole(self, atom: Atom, /) -> Answer:
        """Write an atom of several parts, or nothing of it."""
        ...

    async def read(self, ids: Sequence[str], /) -> tuple[Sequence[Row], datetime]:
        """Return the rows of tasks, and the store's time."""
        ...


async def apply(writes: Writes, atoms: Sequence[Atom]) -> list[Answer]:
    """Write each atom whose guards hold; return one answer per atom, in order."""
    answers: dict[int, Answer] = {}
    wave: dict[int, Transition] = {}
    ids: set[str] = set()
    for position, atom in enumerate(atoms):
        single = atom.transitions[0] if len(atom.transitions) == 1 and not atom.inserts else None
        if single is None or single.guard.id in ids:
            answers |= await _apply_wave(writes, wave)
            wave, ids = {}, set()
        if single is None:
            answers[position] = await writes.apply_whole(atom)
        else:
            wave[position] = single
            ids.add(single.guard.id)
    answers |= await _apply_wave(writes, wave)
    return [answers[position] for position in range(len(atoms))]


async def delete(writes: Writes, guards: Sequence[Guard]) -> list[Verdict]:
    """Remove each task whose guard holds; return one verdict per guard, in order."""
    verdicts: dict[int, Verdict] = {}
    left = dict(enumerate(guards))
    while left:
        once = {guard.id: position for position, guard in reversed(left.items())}
        wave = {position: left.pop(position) for position in sorted(once.values())}
        deleted = await writes.delete_all(list(wave.values()))
        refused = [guard for guard in wave.values() if guard.id not in deleted]
        judged = await _judged(writes, refused)
        for position, guard in wave.items():
            verdicts[position] = Verdict.APPLIED if guard.id in deleted else judged[guard.id].verdict
    return [verdicts[position] for position in range(len(guards))]


async def refusal(writes: Writes, atom: Atom, refused: Sequence[Guard]) -> Answer:
    """Return the answer of the first guard of an atom that refused; "already applied" only if all of them say so."""
    judged = await _judged(writes, refused)
    answers = [judged[guard.id] for guard in refused]
    decisive = next((one for one in answers if one.verdict is not Verdict.ALREADY), answers[0])
    if decisive.verdict is Verdict.ALREADY and len(refused) < len(atom.transitions):
        return Answer(verdict=Verdict.LEASE_LOST, task=decisive.task)
    return decisive


def broken_atom(error: Exception) -> Answer:
    """Return the answer of an atom of several parts that cannot be written."""
    cause = error if isinstance(error, StoreError) else StoreError(f"the atom cannot be written: {error}")
    return Answer(verdict=Verdict.BROKEN, error=cause)


async def _apply_wave(writes: Writes, wave: Mapping[int, Transition]) -> dict[int, Answer]:
    """Write transitions of different tasks, which therefore do not see each other."""
    if not wave:
        return {}
    done, broken = await _write(writes, list(wave.values()))
    refused = [one.guard for one in wave.values() if one.guard.id not in done and one.guard.id not in broken]
    judged = await _judged(writes, refused)
    known = {**dict.fromkeys(done, _APPLIED), **broken, **judged}
    return {position: known[one.guard.id] for position, one in wave.items()}


async def _write(writes: Writes, transitions: Sequence[Transition]) -> tuple[set[str], dict[str, Answer]]:
    """Return the ids of what was written, and the answers of what cannot be; halves what fails as a whole."""
    try:
        return set(await writes.write_all(transitions)), {}
    except writes.row_errors as error:
        if len(transitions) == 1:
            return set(), {transitions[0].guard.id: _broken(transitions[0].guard.id, error)}
    half = len(transitions) // 2
    done, broken = await _write(writes, transitions[:half])
    more_done, more_broken = await _write(writes, transitions[half:])
    return done | more_done, broken | more_broken


async def _judged(writes: Writes, guards: Sequence[Guard]) -> dict[str, Answer]:
    """Return why the guards of different tasks refused.

    One that holds by now, or whose row somebody else has locked, reads as changed: decide again.
    """
    if not guards:
        return {}
    rows, now = await writes.read([guard.id for guard in guards])
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


def _broken(task_id: str, error: Exception) -> Answer:
    broken = StoreError(f"task {task_id!r} cannot be written: {error}")
    broken.__cause__ = error
    return Answer(verdict=Verdict.BROKEN, error=broken)
