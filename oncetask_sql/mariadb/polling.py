"""Claims, one after the other: where the last one found nothing, the next only looks, in a single round trip."""

import time
from typing import Final, NamedTuple

from oncetask_core.claims import Claim
from oncetask_core.store import Claimed
from oncetask_sql.mariadb import claiming, seating
from oncetask_sql.mariadb.candidates import HELD_ROWS, LOW_ROWS, NEXT_DUE, READY_ROWS, SUSPECT_ROWS
from oncetask_sql.mariadb.session import Session
from oncetask_sql.mariadb.statements import said
from oncetask_sql.times import from_micros
from oncetask_sql.wording import Wording

SEAT_SECONDS: Final = 1.0
"""How often keys are looked at that were noted for later."""
_MOST_IDLE: Final = 100
"""How many sets of kinds are remembered, of which nothing was due."""


class _Seen(NamedTuple):
    """What a look has shown."""

    now: int
    finds: bool
    """Whether the lease holds something already, or something is due, which others may have locked."""
    is_noted: bool
    """Whether keys were noted for later."""
    next_due: int | None


class Polling:
    """Claims of one store.

    Args:
        always_seats: Whether every claim looks at the keys that were noted for later: where time is injected.
    """

    def __init__(self, *, always_seats: bool) -> None:
        self._always_seats = always_seats
        self._seated_at = 0.0
        self._idle: set[tuple[bool, frozenset[str]]] = set()

    async def claim(self, session: Session, wording: Wording, asked: Claim) -> Claimed:
        """Lease due tasks, and seat now and then the keys that were noted for later."""
        seats = self._always_seats or time.monotonic() - self._seated_at >= SEAT_SECONDS
        what = (asked.suspects, frozenset(asked.slots))
        if what in self._idle:
            seen = await _look(session, wording, asked)
            seats = seats and seen.is_noted
            if not (seen.finds or seats):
                due = None if seen.next_due is None else from_micros(seen.next_due)
                return Claimed(tasks=(), now=wording.time.seen(seen.now), next_due=due)
        if seats:
            self._seated_at = time.monotonic()
            await seating.seat_noted(session, wording)
        claimed = await claiming.claim(session, wording, asked)
        self._remember(what, is_idle=not claimed.tasks)
        return claimed

    def _remember(self, what: tuple[bool, frozenset[str]], *, is_idle: bool) -> None:
        self._idle.discard(what)
        if is_idle:
            if len(self._idle) == _MOST_IDLE:
                self._idle.clear()
            self._idle.add(what)


async def _look(session: Session, wording: Wording, asked: Claim) -> _Seen:
    """Return whether a claim could take anything, as one statement sees it, which locks nothing."""
    rows = [SUSPECT_ROWS] if asked.suspects else [READY_ROWS, LOW_ROWS]
    kinds = [kind for kind, slots in asked.slots.items() if asked.suspects or slots.limit > 0]
    finding = [said(wording, f"EXISTS (SELECT 1 {HELD_ROWS})", lease=asked.lease_uid)]
    finding += [said(wording, f"EXISTS (SELECT 1 {part})", kind=kind) for kind in kinds for part in rows]
    parts = [said(wording, ":now"), " OR ".join(finding), said(wording, f"EXISTS ({seating.NOTED})")]
    parts += [said(wording, f"({NEXT_DUE})", kind=kind) for kind in asked.slots]
    ((now, finds, is_noted, *times),) = await session.rows(f"SELECT {', '.join(parts)}")
    return _Seen(now, bool(finds), bool(is_noted), min((at for at in times if at is not None), default=None))
