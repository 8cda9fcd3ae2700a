"""Applying atoms: those of one task each go together, the others one by one in savepoints."""

from collections.abc import Sequence

from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Transition, Verdict
from oncetask_sql.forms import Write, change
from oncetask_sql.sqlite.failures import ROW_ERRORS
from oncetask_sql.sqlite.inserting import insert
from oncetask_sql.sqlite.transaction import Transaction
from oncetask_sql.sqlite.writes import Result, current, write

_APPLIED = Answer(verdict=Verdict.APPLIED)


class _RefusedError(Exception):
    """Ends the savepoint of an atom that is not written."""

    def __init__(self, results: Sequence[Result]) -> None:
        super().__init__()
        self.results = results


def apply(tx: Transaction, atoms: Sequence[Atom]) -> list[Answer]:
    """Write each atom whose guards hold; return one answer per atom, in order."""
    answers: dict[int, Answer] = {}
    wave: dict[str, tuple[int, Transition]] = {}
    for position, atom in enumerate(atoms):
        single = atom.transitions[0] if len(atom.transitions) == 1 and not atom.inserts else None
        if single is None or single.guard.id in wave:
            answers.update(_apply_wave(tx, wave))
            wave = {}
        if single is None:
            answers[position] = _apply_whole(tx, atom)
        else:
            wave[single.guard.id] = (position, single)
    answers.update(_apply_wave(tx, wave))
    return [answers[position] for position in range(len(atoms))]


def delete(tx: Transaction, guards: Sequence[Guard]) -> list[Verdict]:
    """Remove each task whose guard holds; return one verdict per guard, in order."""
    first = {guard.id: position for position, guard in reversed(list(enumerate(guards)))}
    once = [position for position, guard in enumerate(guards) if first[guard.id] == position]
    again = [position for position, guard in enumerate(guards) if first[guard.id] != position]
    verdicts: dict[int, Verdict] = {}
    for positions in (once, *([position] for position in again)):
        results = write(tx, [Write(guards[position], None) for position in positions])
        verdicts.update(zip(positions, (result.verdict for result in results), strict=True))
    return [verdicts[position] for position in range(len(guards))]


def _apply_wave(tx: Transaction, wave: dict[str, tuple[int, Transition]]) -> dict[int, Answer]:
    """Write transitions of different tasks, which therefore do not see each other."""
    results = write(tx, [change(transition) for _, transition in wave.values()])
    return {position: _answer(result) for (position, _), result in zip(wave.values(), results, strict=True)}


def _answer(result: Result) -> Answer:
    if result.verdict is Verdict.APPLIED:
        return _APPLIED
    return Answer(verdict=result.verdict, task=result.task, error=result.error)


def _apply_whole(tx: Transaction, atom: Atom) -> Answer:
    """Write an atom of several parts, or nothing of it."""
    tx.all("SAVEPOINT atom")
    try:
        answer = Answer(verdict=Verdict.APPLIED, inserted=_write_parts(tx, atom))
    except _RefusedError as refused:
        tx.all("ROLLBACK TO atom")
        answer = _refusal(tx, atom, refused.results)
    except (StoreError, *ROW_ERRORS) as error:
        tx.all("ROLLBACK TO atom")
        cause = error if isinstance(error, StoreError) else StoreError(f"the atom cannot be written: {error}")
        answer = Answer(verdict=Verdict.BROKEN, error=cause)
    tx.all("RELEASE atom")
    return answer


def _write_parts(tx: Transaction, atom: Atom) -> tuple[Inserted, ...]:
    results = [write(tx, [change(transition)])[0] for transition in atom.transitions]
    if any(result.verdict is not Verdict.APPLIED for result in results):
        raise _RefusedError(results)
    return tuple(insert(tx, atom.inserts)) if atom.inserts else ()


def _refusal(tx: Transaction, atom: Atom, results: Sequence[Result]) -> Answer:
    """Return the answer of the first guard that refused; "already applied" only if all of them say so."""
    refused = [position for position, result in enumerate(results) if result.verdict is not Verdict.APPLIED]
    new = [position for position in refused if results[position].verdict is not Verdict.ALREADY]
    decisive = (new or refused)[0]
    verdict = results[decisive].verdict
    if verdict is Verdict.ALREADY and len(refused) < len(results):
        verdict = Verdict.LEASE_LOST
    if verdict is Verdict.BROKEN:
        return Answer(verdict=verdict, error=results[decisive].error)
    return Answer(verdict=verdict, task=current(tx, atom.transitions[decisive].guard))
