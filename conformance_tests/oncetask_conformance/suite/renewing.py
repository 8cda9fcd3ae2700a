"""Renewing: how leases are extended, and what a worker learns about them."""

from datetime import timedelta

import pytest

from oncetask_conformance.factories import HOUR, MINUTE, SECOND, a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import HELD, State, reach
from oncetask_conformance.suite.claiming import differences
from oncetask_conformance.suite.seating import do_cancel, do_delete
from oncetask_conformance.suite.settling import LOSSES
from oncetask_conformance.world import World
from oncetask_core.decisions import Snoozed
from oncetask_core.store import HeldLease, Renewed
from oncetask_core.transition import Verdict


def ids_of(renewed: Renewed) -> set[str]:
    """Return the ids of the tasks that are held."""
    return {lease.id for lease in renewed.held}


class RenewingTests:
    """What `renew` writes and returns."""

    @on_both_clocks
    async def test_a_lease_is_extended_from_now(self, world: World) -> None:
        """The lease ends one duration after the time in the reply."""
        await world.take(lease_for=MINUTE)
        await world.pass_time(timedelta(milliseconds=5))

        renewed = await world.store.renew({"lease 1": 5 * MINUTE})

        assert (await world.raw("a")).leased_until == renewed.now + 5 * MINUTE

    @on_both_clocks
    async def test_the_reply_carries_the_stores_time(self, world: World) -> None:
        """`now` is the store's time during the call."""
        before = await world.store.now()
        renewed = await world.store.renew({"lease 1": HOUR})

        assert before <= renewed.now <= await world.store.now()

    @on_both_clocks
    async def test_the_reply_names_what_is_held(self, world: World) -> None:
        """Each task that a lease holds is named with its run and its lease."""
        await world.take(a_new_task("a", run_uid="run 5"))

        renewed = await world.store.renew({"lease 1": HOUR})

        assert list(renewed.held) == [HeldLease(id="a", run_uid="run 5", lease_uid="lease 1", cancel_requested=False)]

    @on_both_clocks
    async def test_a_lease_is_never_shortened(self, world: World) -> None:
        """A renewal for less time than is left changes nothing, and the task is held."""
        await world.take(lease_for=HOUR)
        before = await world.raw("a")

        renewed = await world.store.renew({"lease 1": MINUTE})

        assert ids_of(renewed) == {"a"}
        assert await world.raw("a") == before

    @on_both_clocks
    async def test_none_only_asks(self, world: World) -> None:
        """Without a duration the reply is the same and nothing is written."""
        await world.take()
        before = await world.raw("a")
        await world.pass_time(timedelta(milliseconds=5))

        renewed = await world.store.renew({"lease 1": None})

        assert ids_of(renewed) == {"a"}
        assert await world.raw("a") == before

    @on_both_clocks
    async def test_only_the_end_of_the_lease_is_written(self, world: World) -> None:
        """A renewal makes no decision stale and leaves every other field alone."""
        task = await world.take(lease_for=MINUTE)
        before = await world.raw("a")

        await world.store.renew({"lease 1": HOUR})

        assert differences(before, await world.raw("a")) == {"leased_until"}
        assert await world.settle(task) is Verdict.APPLIED

    @on_both_clocks
    async def test_a_cancel_is_told(self, world: World) -> None:
        """A worker learns by its renewal that a task is to stop; the lease is extended all the same."""
        await world.take(lease_for=MINUTE)
        await do_cancel(world, "a")

        renewed = await world.store.renew({"lease 1": HOUR})

        assert [(lease.id, lease.cancel_requested) for lease in renewed.held] == [("a", True)]
        assert (await world.raw("a")).leased_until == renewed.now + HOUR

    async def test_a_cancel_is_told_to_who_only_asks(self, world: World) -> None:
        """Without extending a lease its holder can be told as well."""
        await world.take()
        await do_cancel(world, "a")

        assert [lease.cancel_requested for lease in (await world.store.renew({"lease 1": None})).held] == [True]

    async def test_an_unknown_lease_holds_nothing(self, world: World) -> None:
        """A lease that was never granted is simply not in the reply."""
        await world.take()
        before = await world.raw("a")

        assert ids_of(await world.store.renew({"lease 2": HOUR})) == set()
        assert await world.raw("a") == before

    async def test_leases_are_compared_byte_by_byte(self, world: World) -> None:
        """A lease that differs by case only is another lease."""
        await world.take(lease_uid="lease a")

        assert ids_of(await world.store.renew({"LEASE A": HOUR, "lease a ": HOUR})) == set()

    async def test_renewing_nothing_returns_nothing(self, world: World) -> None:
        """No leases, no tasks."""
        await world.take()

        assert list((await world.store.renew({})).held) == []

    async def test_each_lease_has_a_duration_of_its_own(self, world: World) -> None:
        """Several leases are renewed by one call, each for its time or not at all."""
        await world.add(*(a_new_task(letter) for letter in "abcd"))
        for letter in "abcd":
            await world.claim(f"lease {letter}", limit=1, lease_for=MINUTE)
        before = await world.everything()

        renewed = await world.store.renew({"lease a": HOUR, "lease b": 2 * HOUR, "lease c": None})

        ends = {task.id: task.leased_until for task in (await world.everything()).values()}
        assert ids_of(renewed) == {"a", "b", "c"}
        assert (ends["a"], ends["b"]) == (renewed.now + HOUR, renewed.now + 2 * HOUR)
        assert (ends["c"], ends["d"]) == (before["c"].leased_until, before["d"].leased_until)

    async def test_every_task_of_a_lease_is_renewed(self, world: World) -> None:
        """A lease that holds many tasks is extended for all of them."""
        await world.add(*(a_new_task(f"task {number}") for number in range(100)))
        await world.claim("lease 1", limit=100, lease_for=MINUTE)

        renewed = await world.store.renew({"lease 1": HOUR})

        assert len(ids_of(renewed)) == 100
        assert {task.leased_until for task in (await world.everything()).values()} == {renewed.now + HOUR}

    async def test_a_worker_learns_of_tasks_that_it_did_not_know_it_held(self, world: World) -> None:
        """A claim whose reply was lost shows up in the renewal."""
        await world.add(a_new_task("a"), a_new_task("b"))
        await world.claim("lease 1")

        assert ids_of(await world.store.renew({"lease 1": HOUR})) == {"a", "b"}

    @on_both_clocks
    async def test_a_settled_lease_holds_nothing(self, world: World) -> None:
        """What was settled is not held, and not leased anew."""
        task = await world.take()
        await world.settle(task, Snoozed(HOUR))
        before = await world.raw("a")

        assert ids_of(await world.store.renew({"lease 1": HOUR})) == set()
        assert await world.raw("a") == before

    @on_both_clocks
    @pytest.mark.parametrize("loss", [loss for loss in LOSSES if "the same lease" not in loss])
    async def test_a_lost_lease_is_not_revived(self, world: World, loss: str) -> None:
        """Whatever ended the lease, a renewal neither holds nor changes the task."""
        task = await world.take(lease_for=world.short)
        await LOSSES[loss](world, task)
        before = await world.raw("a")

        renewed = await world.store.renew({"lease 1": 3 * HOUR})

        assert ids_of(renewed) == set()
        assert await world.raw("a") == before

    async def test_a_deleted_task_is_not_held(self, world: World) -> None:
        """The holder of a deleted task learns that it is gone."""
        await world.take(a_new_task("a"), a_new_task("b"))
        await do_delete(world, "a")

        assert ids_of(await world.store.renew({"lease 1": HOUR})) == {"b"}

    @on_both_clocks
    async def test_a_lease_that_ran_out_and_was_not_expired_is_extended(self, world: World) -> None:
        """Until somebody expired it, its holder may keep the task."""
        await world.take(lease_for=world.short)
        await world.pass_time(world.short)

        renewed = await world.store.renew({"lease 1": HOUR})

        assert ids_of(renewed) == {"a"}
        assert (await world.raw("a")).leased_until == renewed.now + HOUR

    @pytest.mark.parametrize("state", HELD)
    async def test_whatever_is_held_is_renewed(self, world: World, state: State) -> None:
        """Tasks that are told to stop, that report progress or that clean up are held like any other."""
        await reach(world, state, "a")

        renewed = await world.store.renew({"lease of a": 2 * HOUR})

        assert ids_of(renewed) == {"a"}
        assert (await world.raw("a")).leased_until == renewed.now + 2 * HOUR

    @pytest.mark.parametrize("state", [state for state in State if state not in HELD])
    async def test_whatever_is_not_held_is_not_renewed(self, world: World, state: State) -> None:
        """Waiting, finished and released tasks have no lease to extend."""
        await reach(world, state, "a")
        before = await world.raw("a")

        assert ids_of(await world.store.renew({"lease of a": HOUR})) == set()
        assert await world.raw("a") == before

    async def test_renewals_may_follow_each_other(self, world: World) -> None:
        """A lease lives as long as it is renewed, each time from then."""
        await world.take(lease_for=MINUTE)
        for _ in range(5):
            await world.pass_time(40 * SECOND)
            await world.store.renew({"lease 1": MINUTE})

        assert (await world.raw("a")).leased_until == world.at(200) + MINUTE

    async def test_another_instance_may_renew(self, world: World) -> None:
        """A lease belongs to its name, and not to the instance that it was granted by."""
        await world.take()
        other = await world.another()

        assert ids_of(await other.renew({"lease 1": HOUR})) == {"a"}
