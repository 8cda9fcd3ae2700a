"""What an instance remembers of its own writes and readings, to read less.

Nothing here is relied upon. Whatever is written on the strength of it is written under the time of update that is
remembered, and refused if somebody wrote since; then it is forgotten, and read.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from oncetask_firestore.database import Raw
from oncetask_firestore.place import Stored

WINDOW_SECONDS: Final = 2.0
"""How long due tasks that were read and not claimed may be claimed without another look."""
MOST_PAGE: Final = 4000
"""How many due tasks are read at once at most."""
MOST_BYTES: Final = 32 * 2**20
"""How large they may be together, if they are as large as those that were read before."""
WALK_SECONDS: Final = 1.0
"""How long after a walk over all keys that found nothing the next one may begin."""
ASIDE_SECONDS: Final = 0.5
"""How often it is looked for other tasks than those that were read and wait for their keys."""
NEXT_DUE_SECONDS: Final = 5.0
"""How long it is not asked again what becomes due next, while there is enough to do."""
BUSY_SECONDS: Final = 5.0
"""How long a key that this instance holds counts as busy without another look."""
MOST: Final = 10_000

Key = tuple[str, str]
"""A kind and a resource key."""


class HeldKey(msgspec.Struct, frozen=True):
    """A key that this instance claimed: its lock as it wrote it, and who still holds it."""

    lock: Raw
    holders: frozenset[str]
    since: float


class Window(msgspec.Struct, frozen=True):
    """Due tasks that were read together, of which there are many."""

    stored: Sequence[Stored]
    since: float
    size: int
    """How many there were."""
    hides_more: bool
    """Whether more was due than could be read."""
    read_at: datetime
    """The store's time of the reading."""


class Memory:
    """What one instance remembers.

    Args:
        monotonic: Seconds that never run backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: dict[str, Stored] = {}
        self._keys: dict[Key, HeldKey] = {}
        self._key_of: dict[str, Key] = {}
        self._leases: set[str] = set()
        self._windows: dict[str, Window] = {}
        self._walk_at: dict[str, float] = {}
        self._page_at: dict[str, float] = {}
        self._aside: dict[str, float] = {}
        self._pages: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._next_due: dict[str, tuple[datetime | None, float]] = {}
        self.cursors: dict[str, str] = {}
        """By kind: the resource key at which a walk over the keys stopped."""

    def is_new_lease(self, uid: str) -> bool:
        """Return whether this instance claims for a lease for the first time, as far as it remembers; now it has."""
        is_new = uid not in self._leases
        if len(self._leases) >= MOST:
            self._leases.clear()
        self._leases.add(uid)
        return is_new

    def has_windows(self, kinds: Iterable[str]) -> bool:
        """Return whether due tasks of every one of these kinds are remembered that may be claimed."""
        windows = [self._windows.get(kind) for kind in kinds]
        return all(window is not None and self._age(window) < WINDOW_SECONDS for window in windows)

    def known(self, ids: Collection[str]) -> Mapping[str, Stored]:
        """Return the documents of tasks that are held, as this instance wrote them."""
        found = {task_id: self._held.get(task_id) for task_id in ids}
        return {task_id: stored for task_id, stored in found.items() if stored is not None}

    def learn(self, stored: Stored) -> None:
        """Remember the document of a task that is held, as it was just written."""
        if len(self._held) >= MOST:
            self._held.clear()
        self._held[stored.task.id] = stored

    def release(self, task_id: str) -> None:
        """Remember that a task that was held has been written, and is held no longer."""
        self.forget([task_id])
        key = self._key_of.pop(task_id, None)
        held = None if key is None else self._keys.get(key)
        if key is not None and held is not None:
            self._keys[key] = msgspec.structs.replace(held, holders=held.holders - {task_id})

    def forget(self, ids: Collection[str]) -> None:
        """Read these anew the next time."""
        for task_id in ids:
            self._held.pop(task_id, None)

    def take_key(self, key: Key, lock: Raw, holders: Collection[str]) -> None:
        """Remember that this instance has claimed a key."""
        if len(self._keys) >= MOST:
            self._keys.clear()
            self._key_of.clear()
        self._keys[key] = HeldKey(lock, frozenset(holders), self._monotonic())
        self._key_of.update(dict.fromkeys(holders, key))

    def forget_key(self, key: Key) -> None:
        """Look anew who holds a key."""
        held = self._keys.pop(key, None)
        for task_id in () if held is None else held.holders:
            self._key_of.pop(task_id, None)

    def is_busy(self, key: Key) -> bool:
        """Return whether this instance holds a key itself, as far as it knows."""
        held = self._keys.get(key)
        return held is not None and bool(held.holders) and self._monotonic() - held.since < BUSY_SECONDS

    def free_lock(self, key: Key) -> Raw | None:
        """Return the lock of a key that this instance was the last to claim, if all it had claimed has ended."""
        held = self._keys.get(key)
        return held.lock if held is not None and not held.holders else None

    def walked(self, kind: str, *, found: bool, whole: bool) -> None:
        """Remember whether a walk over the keys of a kind found anything, and whether it came round."""
        pause = WALK_SECONDS if whole else ASIDE_SECONDS
        self._walk_at[kind] = float("-inf") if found else self._monotonic() + pause

    def may_walk(self, kind: str) -> bool:
        """Return whether the keys of a kind should be walked over again."""
        return self._monotonic() > self._walk_at.get(kind, float("-inf"))

    def looks_aside(self, kind: str) -> bool:
        """Return whether to look now for other tasks than those that were read: it is so twice in a second."""
        is_time = self._monotonic() - self._aside.get(kind, float("-inf")) > ASIDE_SECONDS
        if is_time:
            self._aside[kind] = self._monotonic()
        return is_time

    def page_size(self, kind: str, *, least: int) -> int:
        """Return how many due tasks to read: more than before where those were soon used up."""
        size, lasted = self._pages.get(kind, 0), self._monotonic() - self._page_at.get(kind, float("-inf"))
        if lasted < WINDOW_SECONDS / 2:
            size *= 4 if lasted < WINDOW_SECONDS / 8 else 2
        self._pages[kind] = min(max(size, least), MOST_PAGE, self._most.get(kind, MOST_PAGE))
        return self._pages[kind]

    def learn_page(self, kind: str, raws: Sequence[Raw]) -> None:
        """Remember when due tasks were read, and how large they are."""
        self._page_at[kind] = self._monotonic()
        if raws:
            self._most[kind] = max(MOST_BYTES * len(raws) // max(sum(raw.size for raw in raws), 1), 1)

    def window(self, kind: str) -> Window | None:
        """Hand out the due tasks of a kind that were read a moment ago and not claimed."""
        window = self._windows.pop(kind, None)
        if window is None or self._age(window) < WINDOW_SECONDS:
            return window
        if len(window.stored) > window.size // 2:
            self._pages[kind] //= 2
        return None

    def new_window(self, stored: Sequence[Stored], *, read_at: datetime, hides_more: bool) -> Window:
        """Return due tasks that were read just now."""
        return Window(stored, self._monotonic(), len(stored), hides_more, read_at)

    def keep_window(self, kind: str, window: Window) -> None:
        """Remember what of a window was not claimed."""
        self._windows[kind] = window

    def _age(self, window: Window) -> float:
        return self._monotonic() - window.since

    def learn_next_due(self, kind: str, time: datetime | None) -> None:
        """Remember what was read just now about when something becomes due."""
        self._next_due[kind] = (time, self._monotonic())

    def next_due(self, kind: str) -> tuple[datetime | None, float]:
        """Return when something becomes due, as far as is remembered, and for how many seconds that holds."""
        time, since = self._next_due.get(kind, (None, float("-inf")))
        return time, since + NEXT_DUE_SECONDS - self._monotonic()
