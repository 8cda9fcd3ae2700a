"""What a call is going to write: seen by its own later parts at once, by everybody else when it is committed."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from oncetask_core.errors import StoreError
from oncetask_core.task import NewTask, OnceTask, born
from oncetask_core.transition import Answer, Atom, Inserted, Transition, Verdict, applied, judge
from oncetask_memory.shelf import Shelf

Task = OnceTask[object]


class Draft:
    """Records on their way to a shelf.

    Args:
        shelf: Where they go.
        env: The environment of new tasks.
        now: The time of the call.
        sequences: The numbers of new tasks.
    """

    def __init__(self, shelf: Shelf, *, env: str, now: datetime, sequences: Iterator[int]) -> None:
        self._shelf = shelf
        self._env = env
        self._now = now
        self._sequences = sequences
        self._written: dict[str, Task] = {}

    def _find(self, task_id: str) -> Task | None:
        return self._written.get(task_id) or self._shelf.tasks.get(task_id)

    def write(self, transition: Transition) -> Verdict:
        """Write one transition if its guard holds; raises OverflowError for a time that no calendar has."""
        task = self._find(transition.guard.id)
        verdict = judge(transition.guard, task, self._now)
        if task is not None and verdict is Verdict.APPLIED:
            self._written[task.id] = applied(task, transition, self._now)
        return verdict

    def insert(self, new: NewTask) -> Inserted:
        """Add one task unless its id is known; raises OverflowError for a time that no calendar has."""
        found = self._find(new.id)
        task = found or born(new, env=self._env, now=self._now, sequence=next(self._sequences))
        if found is None:
            self._written[new.id] = task
        return Inserted(id=new.id, created=found is None, kind=task.kind, created_by=task.created_by)

    def commit(self) -> None:
        """Put what was written on the shelf."""
        for task in self._written.values():
            self._shelf.put(task, self._now)

    def submit(self, atom: Atom) -> Answer:
        """Commit an atom, or say why nothing of it was written."""
        try:
            refusal = self._refusal(atom.transitions)
            inserted = tuple(self.insert(new) for new in atom.inserts) if refusal is None else ()
        except OverflowError as error:
            return Answer(verdict=Verdict.BROKEN, error=StoreError(f"the atom holds a time out of range: {error}"))
        if refusal is None:
            self.commit()
        return refusal or Answer(verdict=Verdict.APPLIED, inserted=inserted)

    def _refusal(self, transitions: Sequence[Transition]) -> Answer | None:
        repeated: list[Transition] = []
        for transition in transitions:
            verdict = self.write(transition)
            if verdict is Verdict.ALREADY:
                repeated.append(transition)
            elif verdict is not Verdict.APPLIED:
                return self._refused(transition, verdict)
        if not repeated:
            return None
        whole = len(repeated) == len(transitions)
        return self._refused(repeated[0], Verdict.ALREADY if whole else Verdict.LEASE_LOST)

    def _refused(self, transition: Transition, verdict: Verdict) -> Answer:
        return Answer(verdict=verdict, task=self._shelf.tasks.get(transition.guard.id))
