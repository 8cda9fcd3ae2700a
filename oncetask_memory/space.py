"""What the stores of one process share."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from oncetask_core.clock import Clock, SystemClock
from oncetask_core.store import ControlRecord
from oncetask_core.task import OnceTask
from oncetask_memory.shelf import Shelf


class Space:
    """The tasks and control records of any number of environments, behind one lock and on one clock.

    Args:
        clock: What time is read from; None means the host's clock.

    Attributes:
        lock: Held during each call of a store, and never while anything is awaited.
        shelves: The tasks by environment.
        records: The control records by environment.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.lock = threading.Lock()
        self.shelves: defaultdict[str, Shelf] = defaultdict(Shelf)
        self.records: defaultdict[str, dict[str, ControlRecord]] = defaultdict(dict)
        self.sequences: Iterator[int] = itertools.count(1)
        self.epochs: Iterator[int] = itertools.count(1)
        self.revisions: Iterator[int] = itertools.count(1)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._latest: datetime | None = None

    def now(self) -> datetime:
        """Return the time, which stands still while the clock runs backwards; the lock has to be held."""
        reading = self._clock.now()
        if self._latest is None or reading > self._latest:
            self._latest = reading
        return self._latest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one environment held at one moment."""

    env: str
    tasks: Sequence[OnceTask[object]]
    """In the order of their creation."""
    records: Mapping[str, ControlRecord]
