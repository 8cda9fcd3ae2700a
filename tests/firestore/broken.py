"""Claims of Firestore's keys that cannot work, and claims of which the lock of the key alone keeps two apart.

A plain claim takes the rightful head of a key, so that two claims meet at one document and hardly ever at the lock.
"""

import secrets
from collections.abc import Callable, Iterable
from types import ModuleType

from oncetask_core.task import OnceTask
from oncetask_firestore import keys

Patching = Callable[[ModuleType, str, object], None]


def any_of(tasks: Iterable[OnceTask[object]]) -> OnceTask[object] | None:
    """Return any unleased task."""
    unleased = [task for task in tasks if task.lease_uid is None]
    return secrets.choice(unleased) if unleased else None


def take_any_head(patch: Patching = setattr) -> None:
    """Let each claim take any task of a key, so that no two meet at the same document but the lock."""
    patch(keys, "rightful_head", any_of)


def take_no_lock(patch: Patching = setattr) -> None:
    """Let each claim of a key write a lock of its own."""
    patch(keys, "lock_name", lambda _place, _key: secrets.token_hex(8))
