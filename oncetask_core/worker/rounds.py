"""The rounds of the upkeep: when it is done, beside the claims or before them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple, TypeVar

from oncetask_core.controls import paused_kinds
from oncetask_core.registry import Registry
from oncetask_core.store import TaskStore
from oncetask_core.worker.claiming import Claimer
from oncetask_core.worker.settings import Seams, WorkerSettings
from oncetask_core.worker.slots import SlotTable
from oncetask_core.worker.store_time import StoreTime
from oncetask_core.worker.upkeep import Upkeep

T = TypeVar("T")
U = TypeVar("U")

logger = logging.getLogger("oncetask.worker")

PAUSES = 2
"""How many times as long as a round took there is none after it, at least."""


class Found(NamedTuple):
    """What a round found."""

    moved: bool
    """Whether it has changed what there is to claim."""
    suspects: bool
    """Whether suspects wait for which there is room."""
    crowded: frozenset[str]
    """The kinds of which suspects wait while all slots are taken."""


class Round:
    """What is done in a round.

    Args:
        store: The control records.
        registry: The kinds that are served.
        upkeep: Does it.
        slots: Suspects are claimed where there is room for them, and kept a slot where there is none.

    Attributes:
        paused: The kinds that were paused at the latest round.
    """

    def __init__(self, store: TaskStore, registry: Registry, *, upkeep: Upkeep, slots: SlotTable) -> None:
        self._store = store
        self._registry = registry
        self._upkeep = upkeep
        self._slots = slots
        self.paused: frozenset[str] = frozenset()

    async def keep_up(self) -> Found:
        """End leases that ran out, move generators on, and see what is paused and which suspects wait."""
        served, paused = frozenset(handler.kind for handler in self._registry), self.paused
        self.paused, expired = await _both(paused_kinds(self._store), self._upkeep.expire(served))
        ticked, (waiting, crowded) = await _both(self._upkeep.tick(served - self.paused), self._suspects_wait())
        return Found(expired + ticked > 0 or self.paused != paused, bool(waiting), crowded)

    async def _suspects_wait(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the kinds of which suspects wait: those with a free slot, and the others."""
        active = [handler for handler in self._registry if handler.kind not in self.paused]
        able = frozenset(handler.kind for handler in active if self._slots.free(handler) > 0)
        full = frozenset(handler.kind for handler in active) - able
        return await _both(self._upkeep.kinds_of_suspects(able), self._upkeep.kinds_of_suspects(full))

    async def purge(self, keep_for: timedelta | None) -> None:
        """Delete finished tasks that are older than this; None keeps them."""
        if keep_for is not None:
            await self._upkeep.purge(keep_for)


class Rounds:
    """Does a round once in a poll interval, and when something becomes due.

    The first round is done before anything is claimed. The others run beside the claims: on a distant store each of
    their questions is a round trip, for which no handler should wait. Where a round takes long because the store has
    much to do, the next one is put off, so that rounds are a small part of what it has to do.

    Args:
        one: What is done in each.
        settings: How often, and how long finished tasks are kept.
        seams: Clock and chance.
        claimer: Told to ask for everything at each round, and again after one that moved something.
        time: The store's time, as the worker knows it.
        on_ended: Called when a round beside the claims has ended.
    """

    def __init__(
        self,
        one: Round,
        *,
        settings: WorkerSettings,
        seams: Seams,
        claimer: Claimer,
        time: StoreTime,
        on_ended: Callable[[], None],
    ) -> None:
        self._one = one
        self._settings = settings
        self._seams = seams
        self._claimer = claimer
        self._time = time
        self._on_ended = on_ended
        self._due_at: float | None = None
        self._beside: asyncio.Task[bool] | None = None

    @property
    def paused(self) -> frozenset[str]:
        """The kinds that were paused at the latest round."""
        return self._one.paused

    @property
    def is_open(self) -> bool:
        """Whether a round is under way beside the claims."""
        return self._beside is not None

    async def keep_up(self, *, thorough: bool) -> bool:
        """Begin a round if it is time; return whether one has changed what there is to claim.

        Args:
            thorough: Whether a whole round is done now, and waited for.

        Raises:
            StoreError: Of this round, or of the one that has ended beside the claims; the next one is due at once.
        """
        is_first = self._due_at is None
        moved = await self._ended(wait=thorough)
        if thorough or is_first:
            self._begin()
            return await self._round() or moved
        if self._beside is None and self._is_due():
            self._begin()
            self._beside = asyncio.create_task(self._round())
            self._beside.add_done_callback(lambda _: self._on_ended())
        return moved

    def rest(self) -> float:
        """Return for how many seconds there is nothing to do for the upkeep."""
        if self._beside is not None:
            return self._settings.poll_seconds  # its end wakes whoever rests
        rest = 0.0 if self._due_at is None else self._due_at - self._seams.clock.monotonic()
        if self._claimer.next_due is not None:
            rest = min(rest, (self._claimer.next_due - self._time.now()).total_seconds())
        return rest

    async def stop(self) -> None:
        """Break off the round that runs beside the claims, and wait for its end."""
        if self._beside is None:
            return
        self._beside.cancel()
        (ended,) = await asyncio.gather(self._beside, return_exceptions=True)
        if isinstance(ended, Exception):
            logger.error("the last round of the upkeep failed", exc_info=ended)

    def _is_due(self) -> bool:
        return self.rest() <= 0

    async def _ended(self, *, wait: bool) -> bool:
        """Return whether the round beside the claims has ended and changed what there is to claim.

        Raises:
            StoreError: It failed.
        """
        if self._beside is None or not (wait or self._beside.done()):
            return False
        beside, self._beside = self._beside, None
        moved = await beside
        self._claimer.hungry = self._claimer.hungry or moved
        return moved

    def _begin(self) -> None:
        self._claimer.hungry = self._claimer.thorough = True
        self._claimer.next_due = None
        pause = self._settings.poll_seconds * (0.5 + 0.5 * self._seams.chance())
        self._due_at = self._seams.clock.monotonic() + pause

    async def _round(self) -> bool:
        began = self._seams.clock.monotonic()
        try:
            moved = await self._do_all()
        except Exception:
            self._due_at = self._seams.clock.monotonic()
            raise
        ended = self._seams.clock.monotonic()
        self._due_at = max(self._due_at or ended, ended + PAUSES * (ended - began))
        return moved

    async def _do_all(self) -> bool:
        found = await self._one.keep_up()
        self._claimer.quiet.notice(self._seams.clock.monotonic(), waiting=found.suspects)
        self._claimer.crowded = found.crowded
        await self._one.purge(self._settings.retention)
        return found.moved


async def _both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """Return what two return that are asked at once; an error is raised when both have ended."""
    first, second = asyncio.ensure_future(one), asyncio.ensure_future(other)
    await asyncio.gather(first, second, return_exceptions=True)
    return first.result(), second.result()
