"""Applying, inserting and deleting: read, judge by the core's rules, commit under the times that were read.

Whatever a call writes goes into one commit. When somebody was faster with one of the documents, the call is halved and
each half is read and judged anew, until what cannot be written stands alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.task import NewTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict
from oncetask_firestore.database import Database, UnwritableError
from oncetask_firestore.draft import Documents, Draft
from oncetask_firestore.memory import Memory
from oncetask_firestore.place import Place, Stored, new_mark

T = TypeVar("T")

AT_ONCE: Final = 100
"""How many atoms go into one commit at most."""
LONGEST: Final = 400_000
"""How many characters of payloads, results and progress go into one commit: each may be written twice, and take four
bytes. Firestore takes requests up to 10 MiB, its emulator up to 4."""
TRIES: Final = 20
"""How often one atom is decided again because others were faster with its documents."""


async def apply(database: Database, place: Place, memory: Memory, *, atoms: Sequence[Atom]) -> list[Answer]:
    """Write each atom whose guards hold; one answer per atom, in order."""
    answers: list[Answer] = []
    for part in _parts(atoms, _weight):
        answers += await _remembered(database, place, memory, atoms=part) or await _anew(
            database, place, memory, atoms=part
        )
    return answers


async def _anew(database: Database, place: Place, memory: Memory, *, atoms: Sequence[Atom]) -> list[Answer]:
    memory.forget(_ids(atoms))
    return await _apply(database, place, atoms, tries=TRIES)


async def _remembered(
    database: Database, place: Place, memory: Memory, *, atoms: Sequence[Atom]
) -> list[Answer] | None:
    """Write the atoms over documents as this instance left them; None where that may not be how they are.

    Whether an id is free has to be read: an insert of one that is taken writes nothing, so no commit would refuse it.
    """
    if any(atom.inserts for atom in atoms):
        return None
    documents = memory.known(_ids(atoms))
    if len(documents) < len(set(_ids(atoms))):
        return None
    mark = new_mark()
    draft = Draft(place, documents, now=place.time.now(), mark=mark)
    answers = [draft.submit(atom) for atom in atoms]
    if any(answer.verdict is not Verdict.APPLIED for answer in answers):
        return None
    try:
        times = await database.commit(draft.writes, mark=mark, is_late=draft.is_late) if draft.writes else ()
    except UnwritableError:
        return None  # one of them stands alone when they are halved
    if times is None:
        return None
    _learn(memory, draft, documents, times=times)
    return answers


def _learn(memory: Memory, draft: Draft, documents: Mapping[str, Stored], *, times: Sequence[Any]) -> None:
    """Remember what was written over documents that were remembered; of what is held no longer, just that."""
    for task_id, write, updated in zip(draft.written, draft.writes, times, strict=True):
        if updated is None or write.fields is None:
            continue
        if draft.holds(task_id):
            memory.learn(documents[task_id].written(write.fields, updated))
        else:
            memory.release(task_id)


async def _apply(database: Database, place: Place, atoms: Sequence[Atom], *, tries: int) -> list[Answer]:
    mark = new_mark()
    documents = await place.load(database, _ids(atoms))
    draft = Draft(place, documents, now=place.time.now(), mark=mark)
    answers = [draft.submit(atom) for atom in atoms]
    try:
        if not draft.writes or await database.commit(draft.writes, mark=mark, is_late=draft.is_late) is not None:
            return answers
    except UnwritableError as error:
        if len(atoms) == 1:
            return [Answer(verdict=Verdict.BROKEN, error=error)]
    if len(atoms) == 1:
        return await _apply(database, place, atoms, tries=_less(tries))
    first, rest = halves(atoms)
    return [
        *await _apply(database, place, first, tries=tries),
        *await _apply(database, place, rest, tries=tries),
    ]


async def insert(database: Database, place: Place, tasks: Sequence[NewTask]) -> list[Inserted]:
    """Add the tasks whose ids are unknown; one answer per task, in order.

    Raises:
        StoreError: A value cannot be stored; of many tasks, others may have been added.
    """
    first = place.time.numbers(len(tasks))
    answers: list[Inserted] = []
    for part in _parts(tasks, lambda new: len(new.payload)):
        answers += await _insert(database, place, part, first=first + len(answers))
    return answers


async def _insert(database: Database, place: Place, tasks: Sequence[NewTask], *, first: int) -> list[Inserted]:
    """Create all in one commit; where Firestore does not take one of them, halve, until it stands alone.

    Raises:
        StoreError: A value cannot be stored.
    """
    try:
        return await _create(database, place, tasks, first=first)
    except UnwritableError:
        if len(tasks) == 1:
            raise
    one, other = halves(tasks)
    return [
        *await _insert(database, place, one, first=first),
        *await _insert(database, place, other, first=first + len(one)),
    ]


async def _create(database: Database, place: Place, tasks: Sequence[NewTask], *, first: int) -> list[Inserted]:
    """Create all as if none were known; look at what is there only when one is."""
    documents: Documents = {}
    for _ in range(TRIES):
        mark = new_mark()
        draft = Draft(place, documents, now=place.time.now(), mark=mark)
        try:
            answers = [draft.insert(new, first + number) for number, new in enumerate(tasks)]
        except (OverflowError, ValueError) as error:
            raise StoreError(f"a task cannot be stored: {error}") from error
        if not draft.writes or await database.commit(draft.writes, mark=mark) is not None:
            return answers
        documents = await place.load(database, [new.id for new in tasks])
    raise _contended()


async def delete(database: Database, place: Place, guards: Sequence[Guard]) -> list[Verdict]:
    """Remove each task whose guard holds; one verdict per guard, in order."""
    verdicts: list[Verdict] = []
    for start in range(0, len(guards), AT_ONCE):
        verdicts += await _delete(database, place, guards[start : start + AT_ONCE], tries=TRIES)
    return verdicts


async def _delete(database: Database, place: Place, guards: Sequence[Guard], *, tries: int) -> list[Verdict]:
    mark = new_mark()
    documents = await place.load(database, [guard.id for guard in guards])
    draft = Draft(place, documents, now=place.time.now(), mark=mark)
    verdicts = [draft.delete(guard) for guard in guards]
    if not draft.writes or await database.commit(draft.writes, mark=mark) is not None:
        return verdicts
    if len(guards) == 1:
        return await _delete(database, place, guards, tries=_less(tries))
    first, rest = halves(guards)
    return [
        *await _delete(database, place, first, tries=tries),
        *await _delete(database, place, rest, tries=tries),
    ]


def _parts(many: Sequence[T], weigh: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Yield what goes into one commit each: not too many, and their texts not too long together."""
    start = weight = 0
    for place, one in enumerate(many):
        own = weigh(one)
        if place - start == AT_ONCE or (place > start and weight + own > LONGEST):
            yield many[start:place]
            start, weight = place, 0
        weight += own
    if start < len(many):
        yield many[start:]


def _weight(atom: Atom) -> int:
    """Return how long the texts of an atom are that have no small bound."""
    texts = [text for one in atom.transitions for text in (one.patch.get("result"), one.patch.get("progress")) if text]
    return sum(map(len, texts)) + sum(len(new.payload) for new in atom.inserts)


def halves(many: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return the first half and the rest."""
    middle = len(many) // 2
    return many[:middle], many[middle:]


def _ids(atoms: Sequence[Atom]) -> list[str]:
    guarded = [transition.guard.id for atom in atoms for transition in atom.transitions]
    return guarded + [new.id for atom in atoms for new in atom.inserts]


def _less(tries: int) -> int:
    if tries <= 1:
        raise _contended()
    return tries - 1


def _contended() -> StoreUnavailableError:
    return StoreUnavailableError(f"others wrote the same documents {TRIES} times in between; ask again")
