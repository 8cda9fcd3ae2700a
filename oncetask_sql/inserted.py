"""What becomes of tasks that are inserted: which were new, which existed, which somebody else is creating."""

from collections.abc import Iterable, Mapping, Sequence

from oncetask_core.errors import StoreUnavailableError
from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted

Existing = Mapping[str, tuple[str, str]]
"""Kind and creator by id."""


class TaskLockedError(StoreUnavailableError):
    """A transaction that is still open keeps a task of this id, or the seat of its key, locked."""


def distinct(tasks: Iterable[NewTask]) -> list[NewTask]:
    """Return the tasks in order; of equal ids the first."""
    first: dict[str, NewTask] = {}
    for new in tasks:
        first.setdefault(new.id, new)
    return list(first.values())


def answers_of(tasks: Sequence[NewTask], created: set[str], existing: Existing) -> list[Inserted]:
    """Return the answer for each task: of equal ids the first was created."""
    others = dict(existing)
    answers: list[Inserted] = []
    for new in tasks:
        is_new = new.id in created and new.id not in others
        kind, created_by = others.setdefault(new.id, (new.kind, new.created_by))
        answers.append(Inserted(id=new.id, created=is_new, kind=kind, created_by=created_by))
    return answers
