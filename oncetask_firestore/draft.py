"""What a call is going to write: seen by its own later parts at once, by everybody else when it is committed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from oncetask_core.errors import StoreError
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Answer, Atom, Event, Guard, Inserted, Transition, Verdict, applied, judge
from oncetask_firestore.database import TASKS, Raw, Write
from oncetask_firestore.place import Fault, Place, Stored
from oncetask_firestore.writing import new_fields

Task = OnceTask[object]
Documents = Mapping[str, Stored | Fault | Raw]


class _RefusedError(Exception):
    """An atom is not written; nothing of it stays in the draft."""

    def __init__(self, guard: Guard, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.guard = guard
        self.verdict = verdict


class Draft:
    """Records on their way into documents that were read before.

    Args:
        place: Where they go.
        documents: What is there now, by task id.
        now: The time of the call.
        mark: The random name of the commit.
    """

    def __init__(self, place: Place, documents: Documents, *, now: datetime, mark: str) -> None:
        self._place = place
        self._documents = documents
        self._now = now
        self._mark = mark
        self._tasks: dict[str, Task | None] = {}
        """What was written; None for what was deleted."""
        self._expired: set[str] = set()
        self._writes: dict[str, Write] = {}
        self._held: dict[str, Task] = {}
        """What holders wrote about, as it was before."""

    @property
    def writes(self) -> Sequence[Write]:
        """What the draft comes to."""
        return list(self._writes.values())

    @property
    def written(self) -> Sequence[str]:
        """The ids of the tasks that the writes are about."""
        return list(self._writes)

    def holds(self, task_id: str) -> bool:
        """Return whether a task that was written is held by a lease."""
        task = self._tasks[task_id]
        return task is not None and task.lease_uid is not None

    def submit(self, atom: Atom) -> Answer:
        """Take an atom into the draft, or say why nothing of it is written."""
        before = (dict(self._tasks), set(self._expired), dict(self._writes))
        try:
            return self._submit(atom)
        except _RefusedError as refused:
            self._tasks, self._expired, self._writes = before
            return Answer(verdict=refused.verdict, task=self._find(refused.guard.id))
        except (OverflowError, ValueError) as error:
            broken = StoreError(f"the atom cannot be stored: {error}")
        except StoreError as error:
            broken = error
        self._tasks, self._expired, self._writes = before
        return Answer(verdict=Verdict.BROKEN, error=broken)

    def _submit(self, atom: Atom) -> Answer:
        verdicts = [self._write(transition) for transition in atom.transitions]
        if Verdict.ALREADY in verdicts:
            whole = set(verdicts) == {Verdict.ALREADY}
            repeated = atom.transitions[verdicts.index(Verdict.ALREADY)]
            raise _RefusedError(repeated.guard, Verdict.ALREADY if whole else Verdict.LEASE_LOST)
        first = self._place.time.numbers(len(atom.inserts)) if atom.inserts else 0
        inserted = tuple(self.insert(new, first + place) for place, new in enumerate(atom.inserts))
        return Answer(verdict=Verdict.APPLIED, inserted=inserted)

    def _write(self, transition: Transition) -> Verdict:
        guard = transition.guard
        task = self._find(guard.id)
        verdict = judge(guard, task, self._now)
        by_holder = guard.lease_uid is not None and not guard.run_out
        if verdict is Verdict.APPLIED and task is not None and by_holder:
            if self._place.is_over(task):
                raise _RefusedError(guard, Verdict.LEASE_LOST)
            self._held[guard.id] = task
        if verdict is Verdict.APPLIED and task is not None:
            self._tasks[guard.id] = applied(task, transition, self._now)
            if transition.event is Event.EXPIRE:
                self._expired.add(guard.id)
            self._stage(guard.id)
        elif verdict is not Verdict.ALREADY:
            raise _RefusedError(guard, verdict)
        return verdict

    def insert(self, new: NewTask, sequence: int) -> Inserted:
        """Take a new task into the draft unless its id is known.

        Raises:
            StoreError: The document belongs to another environment.
            OverflowError: A time lies outside the years 1 to 9999.
            ValueError: A text holds lone surrogates.
        """
        found = self._documents.get(new.id)
        if isinstance(found, Raw):
            raise StoreError(
                f"the document {found.name!r} belongs to environment {found.fields.get('env')!r}: with ids='verbatim', "
                "as for Go workers, ids are unique in the collection"
            )
        if isinstance(found, Fault) and new.id not in self._tasks:
            return Inserted(id=new.id, created=False, kind=str(found.raw.fields.get("type")), created_by="")
        known = self._find(new.id)
        task = known or born(new, env=self._place.env, now=self._now, sequence=sequence)
        if known is None:
            self._tasks[new.id] = task
            fields = new_fields(task, write=self._mark)
            self._writes[new.id] = Write(TASKS, self._place.name(new.id), checked(fields))
        return Inserted(id=new.id, created=known is None, kind=task.kind, created_by=task.created_by)

    def is_late(self) -> bool:
        """Return whether a holder whose write is in the draft has had to stop since: Go workers may have its key."""
        return any(self._place.is_over(task) for task_id, task in self._held.items() if task_id in self._writes)

    def delete(self, guard: Guard) -> Verdict:
        """Take a deletion into the draft if its guard holds."""
        found = self._documents.get(guard.id)
        if isinstance(found, Fault):
            return Verdict.BROKEN
        verdict = judge(guard, self._find(guard.id), self._now)
        if verdict is Verdict.APPLIED and isinstance(found, Stored):
            self._tasks[guard.id] = None
            self._writes[guard.id] = Write(TASKS, found.raw.name, None, found.raw.updated)
        return verdict

    def _find(self, task_id: str) -> Task | None:
        if task_id in self._tasks:
            return self._tasks[task_id]
        found = self._documents.get(task_id)
        if isinstance(found, Fault):
            raise StoreError(f"the document of task {task_id!r} cannot be read: {found.reason}")
        return found.task if isinstance(found, Stored) else None

    def _stage(self, task_id: str) -> None:
        found, task = self._documents.get(task_id), self._tasks[task_id]
        if isinstance(found, Stored) and task is not None:
            write = found.changed(task, mark=self._mark, expired=task_id in self._expired)
            checked(write.fields or {})
            self._writes[task_id] = write
        elif task is not None:
            fields = new_fields(task, write=self._mark)
            self._writes[task_id] = Write(TASKS, self._place.name(task_id), checked(fields))


def checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields once every text of them can be encoded.

    Raises:
        ValueError: A text holds lone surrogates.
    """
    msgspec.json.encode(fields)
    return fields
