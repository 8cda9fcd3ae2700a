"""How much a worker can take: free calls per kind, asked for in as few claims as the leases allow."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

import msgspec

from oncetask_core.claims import Slots
from oncetask_core.handlers import Handler

FREE_SHARE = 0.25


class Demand(msgspec.Struct, frozen=True):
    """One claim call: kinds whose leases have the same duration and renewal."""

    lease_for: timedelta
    renew: bool
    slots: Mapping[str, Slots]


class SlotTable:
    """Counts the handler calls per kind: those that run, and those that ended and wait for the store's answer.

    A call that ended leaves its slot to the next one, so that the store is asked for more while it is told the outcome.
    No more calls wait for its answer than may run: where the store does not keep up, nothing is claimed.
    """

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._ending: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How many calls run or wait for the store's answer."""
        return self._running.total() + self._ending.total()

    def take(self, kind: str) -> None:
        """Occupy a slot."""
        self._running[kind] += 1

    def leave(self, kind: str) -> None:
        """Free the slot of a call that has ended; the store's answer is awaited."""
        self._running[kind] -= 1
        self._ending[kind] += 1

    def forget(self, kind: str, *, ended: bool) -> None:
        """Count a call no longer: its outcome is stored, or it is nobody's any more."""
        (self._ending if ended else self._running)[kind] -= 1

    def free(self, handler: Handler) -> int:
        """Return how many calls of the handler could begin now."""
        most, running = handler.options.concurrency, self._running[handler.kind]
        return min(most - running, 2 * most - running - self._ending[handler.kind])

    def demands(self, handlers: Iterable[Handler], *, patient: Collection[str] = ()) -> list[Demand]:
        """Return what to claim now.

        Args:
            handlers: The kinds that may be claimed.
            patient: Those of them that have more to do than slots: they are asked for when at least a quarter of the
                slots is free, so that claims stay large.
        """
        groups: dict[tuple[timedelta, bool], dict[str, Slots]] = {}
        for handler in handlers:
            free, most = self.free(handler), handler.options.concurrency
            if free <= 0 or (handler.kind in patient and free < most * FREE_SHARE):
                continue
            size = handler.options.max_group if handler.is_group else 1
            group = groups.setdefault((handler.lease_for, handler.options.renew_lease), {})
            group[handler.kind] = Slots(limit=free, group=size)
        return [Demand(lease_for, renew, slots) for (lease_for, renew), slots in groups.items()]
