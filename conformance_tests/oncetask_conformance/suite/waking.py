"""Waking up: what others write is noticed by the stores that can."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from oncetask_conformance.factories import a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import State, reach
from oncetask_conformance.world import World
from oncetask_core.decisions import KindRules, Released, cancel, conclude, reschedule, reset
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import WakeUps
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Atom, Transition, Verdict

AGAIN_SECONDS = 0.1
DEEDS: Mapping[str, tuple[State, Callable[[OnceTask[object]], Transition | None]]] = {
    "cancel": (State.WAITING, lambda task: cancel(task, has_cleanup=True)),
    "reset": (State.FAILED, lambda task: reset(task, run_uid="second run")),
    "reschedule": (State.WAITING, lambda task: reschedule(task, StoreNow())),
    "release": (State.LEASED, lambda task: conclude(task, Released(), KindRules(), chance=0.0)),
}
"""From which state, and what is decided."""


class WakingTests:
    """What a worker relies on that would rather be told than ask."""

    @on_both_clocks
    async def test_the_first_call_returns_at_once(self, world: World) -> None:
        """Whoever begins to listen looks for tasks once, whatever was written before."""
        await _noticed(world)

    @on_both_clocks
    async def test_what_others_create_while_a_store_listens_is_noticed(self, world: World) -> None:
        """A call that waits returns."""
        other = await world.another()
        await _noticed(world)
        waiting = asyncio.ensure_future(_noticed(world))
        await asyncio.sleep(0)  # it begins to wait; what is written before or after that has to be noticed as well

        await other.insert([a_new_task()])

        await waiting

    @on_both_clocks
    async def test_what_others_create_between_two_calls_is_noticed(self, world: World) -> None:
        """Nothing is missed while nobody listens."""
        other = await world.another()
        for name in "abc":
            await _noticed(world)
            await other.insert([a_new_task(name)])

        await _noticed(world)

    @on_both_clocks
    @pytest.mark.parametrize("deed", DEEDS)
    async def test_what_others_make_due_is_noticed(self, world: World, deed: str) -> None:
        """A task that waited for its time, or had ended, is to run, or to be cleaned up."""
        state, decide = DEEDS[deed]
        _listener(world)
        other = await world.another()
        transition = decide(await reach(world, state))
        assert transition is not None
        await _noticed(world)

        (answer,) = await other.apply([Atom((transition,))])

        assert answer.verdict is Verdict.APPLIED
        await _noticed(world)

    @on_both_clocks
    async def test_follow_ups_of_others_are_noticed(self, world: World) -> None:
        """A task that is created by the atom which ends another one."""
        _listener(world)
        other = await world.another()
        task = await world.take()
        await _noticed(world)

        (answer,) = await other.apply([Atom((world.conclusion(task),), (a_new_task("b"),))])

        assert answer.verdict is Verdict.APPLIED
        await _noticed(world)


def _listener(world: World) -> WakeUps:
    if "wake_ups" not in world.store.capabilities:
        pytest.skip("needs the capability wake_ups")
    assert isinstance(world.store, WakeUps)
    return world.store


async def _noticed(world: World) -> None:
    """Return once the world's store has noticed something; a connection that breaks is made anew, as workers do."""
    listener = _listener(world)
    async with asyncio.timeout(world.patience):
        while True:
            try:
                await listener.changed()
            except StoreUnavailableError:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return
