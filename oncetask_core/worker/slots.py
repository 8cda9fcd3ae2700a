"""How much a worker can take: free calls per kind, asked for in as few claims as the leases allow."""

from collections import Counter
from collections.abc import Iterable, Mapping
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
    """Counts the handler calls that run, per kind."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """How many calls run, their settling included."""
        return self._used.total()

    def take(self, kind: str) -> None:
        """Occupy a slot."""
        self._used[kind] += 1

    def give_back(self, kind: str) -> None:
        """Free a slot."""
        self._used[kind] -= 1

    def has_free(self, handler: Handler) -> bool:
        """Return whether a call of the handler could begin now."""
        return self._used[handler.kind] < handler.options.concurrency

    def demands(self, handlers: Iterable[Handler], *, full: bool = False) -> list[Demand]:
        """Return what to claim now.

        While there is more to do than slots, a kind is asked for when at least a quarter of its slots is free: claims
        stay large. The caller asks in full now and then, so that no free slot waits for long.

        Args:
            handlers: The kinds that may be claimed.
            full: Ask for every kind with a free slot.
        """
        groups: dict[tuple[timedelta, bool], dict[str, Slots]] = {}
        for handler in handlers:
            free = handler.options.concurrency - self._used[handler.kind]
            if free <= 0 or not (full or free >= handler.options.concurrency * FREE_SHARE):
                continue
            size = handler.options.max_group if handler.is_group else 1
            group = groups.setdefault((handler.lease_for, handler.options.renew_lease), {})
            group[handler.kind] = Slots(limit=free, group=size)
        return [Demand(lease_for, renew, slots) for (lease_for, renew), slots in groups.items()]
