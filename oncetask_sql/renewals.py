"""What a renewal shows on a server: what was extended, what is held, and what somebody else has locked."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from oncetask_core.store import HeldLease, Renewed
from oncetask_sql.codec import Row
from oncetask_sql.store_time import StoreTime

Leases = Mapping[str, timedelta | None]
"""By how much each lease is to be extended; None only asks what it holds."""


class Seen(NamedTuple):
    """What requests showed."""

    extended: Mapping[str, int]
    """When a lease was extended, by task id, in microseconds."""
    held: Sequence[Row]
    """What the leases hold: task id, run, lease, and whether it is cancelled."""
    now: int

    def then(self, later: "Seen") -> "Seen":
        """Return what both show: each first extension, and what is held in the end."""
        return Seen({**later.extended, **self.extended}, later.held, later.now)

    def locked(self, leases: Leases) -> dict[str, str]:
        """Return what is held and was to be extended, but was not: the lease by task id."""
        return {
            task_id: lease_uid
            for task_id, _, lease_uid, _ in self.held
            if leases[lease_uid] is not None and task_id not in self.extended
        }

    def answer(self, leases: Leases, time: StoreTime) -> Renewed:
        """Return what the worker is told; its time is the earliest extension's: no lease is thought too long."""
        locked = self.locked(leases)
        held = [
            HeldLease(
                id=task_id,
                run_uid=run_uid,
                lease_uid=lease_uid,
                cancel_requested=bool(is_cancelled),
                is_extended=task_id not in locked,
            )
            for task_id, run_uid, lease_uid, is_cancelled in self.held
        ]
        return Renewed(held=held, now=time.seen(min(self.extended.values(), default=self.now)))
