"""What is wrong with the seats of keys, as far as nobody has noted it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from oncetask_core.seats import rightful_head, seat_faults
from oncetask_core.task import OnceTask
from oncetask_sql.keys import Key


def faults_of_keys(tasks: Iterable[OnceTask[object]], *, noted: Collection[Key]) -> list[str]:
    """Return what is wrong with the keys of tasks, given every unfinished task of each.

    The seat of a key that nobody holds may be missing or another's where the key is noted for a later look.
    """
    keys: defaultdict[Key, list[OnceTask[object]]] = defaultdict(list)
    for task in tasks:
        if task.resource_key is not None:
            keys[Key(task.kind, task.resource_key)].append(task)
    return [f"{key.key}: {fault}" for key, members in keys.items() for fault in _faults(members, is_noted=key in noted)]


def _faults(tasks: Sequence[OnceTask[object]], *, is_noted: bool) -> list[str]:
    faults = seat_faults(tasks)
    if is_noted and rightful_head(tasks) is not None:
        return [fault for fault in faults if not fault.startswith("the seat belongs to")]
    return faults
