"""Resource keys: one holder at a time, and the seat that says who comes next."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import pytest

from oncetask_conformance.factories import (
    CLEANED_UP,
    HOUR,
    KEY,
    MINUTE,
    ONE_ATTEMPT,
    RETRIED,
    SECOND,
    a_claim,
    a_failure,
    a_generator,
    a_new_task,
    keyed,
)
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.suite.inserting import DISTINCT
from oncetask_conformance.suite.storm import faults_of_a_storm
from oncetask_conformance.world import World
from oncetask_core.decisions import Released, Snoozed, cancel, deletion, reschedule, reset
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Verdict

Ending = Callable[[World, OnceTask[object]], Awaitable[object]]


async def _cancelled_then_done(world: World, task: OnceTask[object]) -> None:
    await do_cancel(world, task.id)
    await world.settle(await world.record(task.id))


async def _ran_out(world: World, task: OnceTask[object]) -> None:
    await world.pass_time(2 * HOUR)
    await world.expire(task)


async def do_cancel(world: World, task_id: str, *, has_cleanup: bool = False) -> None:
    """Cancel a task as anybody may."""
    transition = cancel(await world.record(task_id), has_cleanup=has_cleanup)
    assert transition is not None
    assert await world.verdict(transition) is Verdict.APPLIED


async def do_delete(world: World, task_id: str) -> None:
    """Delete a task as anybody may."""
    assert list(await world.store.delete([deletion(await world.record(task_id))])) == [Verdict.APPLIED]


async def do_reset(world: World, task_id: str) -> None:
    """Start a finished task anew."""
    assert await world.verdict(reset(await world.record(task_id), run_uid=f"next run of {task_id}")) is Verdict.APPLIED


PASSING_ON: Mapping[str, Ending] = {
    "completed": lambda world, task: world.settle(task),
    "failed for good": lambda world, task: world.settle(task, a_failure(), ONE_ATTEMPT),
    "failed, to be retried": lambda world, task: world.settle(task, a_failure(), RETRIED),
    "snoozed": lambda world, task: world.settle(task, Snoozed(MINUTE)),
    "cancelled while it ran": _cancelled_then_done,
    "deleted while it ran": lambda world, task: do_delete(world, task.id),
}
COMING_BACK: Mapping[str, Ending] = {
    "released": lambda world, task: world.settle(task, Released()),
    "retried at once": lambda world, task: world.settle(task, a_failure(delay=0 * SECOND)),
    "expired": _ran_out,
}


class ExclusionTests:
    """One task of a key at a time."""

    @on_both_clocks
    async def test_one_task_of_a_key_is_taken(self, world: World) -> None:
        """However many slots there are, a claim of single tasks takes one per key."""
        await world.add(*(keyed(letter) for letter in "abc"))

        assert await world.claimed_ids("lease 1") == ["a"]
        assert await world.claimed_ids("lease 2") == []

    @on_both_clocks
    @pytest.mark.parametrize("ending", PASSING_ON)
    async def test_the_key_passes_on_when_its_holder_ends(self, world: World, ending: str) -> None:
        """However a lease ends, the next due task of the key is seated and taken."""
        task = await world.take(keyed("a"), keyed("b"), keyed("c"))
        assert await world.seated() == set()

        await PASSING_ON[ending](world, task)

        assert await world.seated() == {"b"}
        assert await world.claimed_ids("lease 2") == ["b"]

    @pytest.mark.parametrize("ending", COMING_BACK)
    async def test_the_key_stays_with_a_task_that_is_still_the_earliest(self, world: World, ending: str) -> None:
        """A task that comes back without a delay keeps its place before later ones."""
        task = await world.take(keyed("a"), keyed("b", wait_until=world.at(60)))

        await COMING_BACK[ending](world, task)

        assert await world.seated() == {"a"}

    @on_both_clocks
    async def test_concurrent_claims_give_a_key_to_one(self, world: World) -> None:
        """Of several instances that claim at once, one holds each key."""
        await world.add(*(a_new_task(f"{n}", resource_key=f"key {n % 3}") for n in range(12)))
        stores = [world.store, *[await world.another() for _ in range(3)]]

        replies = await asyncio.gather(*(store.claim(a_claim(f"lease {n}")) for n, store in enumerate(stores)))

        assert sorted(task.id for reply in replies for task in reply.tasks) == ["0", "1", "2"]

    async def test_other_kinds_do_not_share_a_key(self, world: World) -> None:
        """A key belongs to a kind."""
        await world.add(keyed("a", kind="letter"), keyed("b", kind="parcel"))

        assert set(await world.claimed_ids(kinds=["letter", "parcel"])) == {"a", "b"}

    @pytest.mark.parametrize("difference", DISTINCT)
    async def test_similar_keys_are_different_keys(self, world: World, difference: str) -> None:
        """Keys are compared byte by byte."""
        one, other = DISTINCT[difference]
        await world.add(a_new_task("a", resource_key=one), a_new_task("b", resource_key=other))

        assert await world.claimed_ids() == ["a", "b"]

    async def test_keyless_tasks_exclude_nobody(self, world: World) -> None:
        """Without a key any number of tasks run at once."""
        await world.add(*(a_new_task(letter) for letter in "abc"))

        assert len(await world.claimed_ids()) == 3

    async def test_a_hot_key_delays_nobody_else(self, world: World) -> None:
        """Many earlier tasks of one busy key do not hide a later task without it."""
        await world.add(*(keyed(f"hot {n}", wait_until=world.at(-60)) for n in range(300)))
        await world.add(a_new_task("free"), a_new_task("other", resource_key="van-8"))
        await world.claim("lease 1", limit=1)

        assert set(await world.claimed_ids("lease 2", limit=2)) == {"free", "other"}

    async def test_finished_tasks_hold_no_key(self, world: World) -> None:
        """A finished task has no seat and keeps none from having it."""
        await world.settle(await world.take(keyed("a")))
        await world.add(keyed("b"))

        assert (await world.seats())["a"].head_key is None
        assert await world.seated() == {"b"}

    async def test_generators_take_no_part(self, world: World) -> None:
        """A generator with a key neither holds it nor waits for it."""
        await world.add(a_generator("a", resource_key=KEY), keyed("b"))

        assert await world.seated() == {"b"}
        assert await world.claimed_ids() == ["b"]


class SeatingTests:
    """Who has the seat of a key, as it lies in the storage."""

    async def test_the_first_task_of_a_key_is_seated(self, world: World) -> None:
        """A lonely task has its key's seat at once."""
        await world.add(keyed("a"))

        assert (await world.seats())["a"].head_key == KEY

    async def test_of_tasks_inserted_together_the_earliest_is_seated(self, world: World) -> None:
        """The seat is given by time, then creation, and not by the order of the call."""
        await world.add(keyed("a", wait_until=world.at(20)), keyed("b", wait_until=world.at(10)))

        assert await world.seated() == {"b"}

    async def test_an_earlier_task_takes_the_seat(self, world: World) -> None:
        """A task that is due before the seated one is seated instead."""
        await world.add(keyed("a", wait_until=world.at(20)))
        await world.add(keyed("b", wait_until=world.at(10)))

        assert await world.seated() == {"b"}

    async def test_a_later_task_takes_no_seat(self, world: World) -> None:
        """A task that is due later waits behind the seated one."""
        await world.add(keyed("a", wait_until=world.at(10)))
        await world.add(keyed("b", wait_until=world.at(20)))

        assert await world.seated() == {"a"}

    async def test_priority_gives_no_seat(self, world: World) -> None:
        """Within a key priorities do not act."""
        await world.add(keyed("a"), keyed("b", priority=10))

        assert await world.seated() == {"a"}

    async def test_a_claimed_head_keeps_its_seat(self, world: World) -> None:
        """The holder's seat is what keeps others from having it."""
        await world.take(keyed("a"), keyed("b"))

        assert (await world.seats())["a"].head_key == KEY
        assert (await world.seats())["b"].head_key is None

    async def test_nobody_is_seated_while_the_key_is_held(self, world: World) -> None:
        """A new task of a key that is held has to wait, even if it is due earlier."""
        await world.take(keyed("a"))

        await world.add(keyed("b", wait_until=world.at(-60)))

        assert await world.seated() == set()
        assert await world.claimed_ids("lease 2") == []

    @on_both_clocks
    async def test_a_head_in_back_off_lets_the_next_pass(self, world: World) -> None:
        """A failed task waits for its retry without holding up its key."""
        task = await world.take(keyed("a"), keyed("b"))
        await world.settle(task, a_failure(delay=HOUR))

        assert await world.seated() == {"b"}

    async def test_inserting_an_id_that_exists_seats_nobody(self, world: World) -> None:
        """Creating a finished task again does not give it the seat."""
        await world.settle(await world.take(keyed("a")))
        await world.add(keyed("b"))

        await world.add(keyed("a"))

        assert await world.seated() == {"b"}
        assert (await world.seats())["a"].head_key is None

    async def test_inserting_a_held_id_again_seats_nobody(self, world: World) -> None:
        """Creating a task again while it runs leaves its key with it."""
        await world.take(keyed("a"), keyed("b"))

        await world.add(keyed("a"), keyed("b"))

        assert await world.seated() == set()

    async def test_inserting_a_known_id_under_another_key_takes_no_seat_there(self, world: World) -> None:
        """The key of a task is that of its creation; the other key stays free for its own."""
        await world.add(a_new_task("a"))
        await world.add(keyed("a"))
        await world.add(keyed("b"))

        assert (await world.seats())["a"].head_key is None
        assert await world.seated() == {"b"}

    async def test_deleting_the_seated_task_seats_the_next(self, world: World) -> None:
        """A deletion frees the seat."""
        await world.add(keyed("a"), keyed("b"))

        await do_delete(world, "a")

        assert await world.seated() == {"b"}

    async def test_cancelling_the_seated_task_seats_the_next(self, world: World) -> None:
        """A task that ends by a cancellation gives up its seat."""
        await world.add(keyed("a"), keyed("b"))

        await do_cancel(world, "a")

        assert await world.seated() == {"b"}

    async def test_a_clean_up_that_becomes_due_first_is_seated(self, world: World) -> None:
        """A cancelled task whose clean-up is due at once goes before one that waits."""
        await world.add(keyed("a", wait_until=world.at(60)), keyed("b", wait_until=world.at(120)))

        await do_cancel(world, "b", has_cleanup=True)

        assert await world.seated() == {"b"}

    async def test_rescheduling_to_later_gives_the_seat_away(self, world: World) -> None:
        """A seated task that is put off lets the next one pass."""
        await world.add(keyed("a"), keyed("b", wait_until=world.at(30)))

        assert await world.verdict(reschedule(await world.record("a"), world.at(60))) is Verdict.APPLIED
        assert await world.seated() == {"b"}

    async def test_rescheduling_to_earlier_takes_the_seat(self, world: World) -> None:
        """A task that is brought forward passes the seated one."""
        await world.add(keyed("a", wait_until=world.at(30)), keyed("b", wait_until=world.at(60)))

        assert await world.verdict(reschedule(await world.record("b"), StoreNow())) is Verdict.APPLIED
        assert await world.seated() == {"b"}

    async def test_a_task_that_is_reset_contends_again(self, world: World) -> None:
        """A new run is due at once, before what waits for later."""
        await world.settle(await world.take(keyed("a")))
        await world.add(keyed("b", wait_until=world.at(60)))

        await do_reset(world, "a")

        assert await world.seated() == {"a"}

    async def test_a_reset_while_the_key_is_held_seats_nobody(self, world: World) -> None:
        """A new run waits for the holder of its key."""
        await world.settle(await world.take(keyed("a"), keyed("b")))
        await world.claim("lease 2")

        await do_reset(world, "a")

        assert await world.seated() == set()
        assert await world.claimed_ids("lease 3") == []

    async def test_deleting_a_waiting_task_leaves_the_holder_alone(self, world: World) -> None:
        """Whoever holds the key keeps it when another task of the key goes."""
        await world.take(keyed("a"), keyed("b"), keyed("c"))

        await do_delete(world, "b")

        assert (await world.seats())["a"].head_key == KEY
        assert await world.seated() == set()

    async def test_cancelling_the_holder_leaves_it_the_key(self, world: World) -> None:
        """A running task that is told to stop holds its key until it has stopped."""
        await world.take(keyed("a"), keyed("b"))

        await do_cancel(world, "a")

        assert await world.seated() == set()
        assert await world.claimed_ids("lease 2") == []

    async def test_seating_makes_no_decision_stale(self, world: World) -> None:
        """Whoever decided on a task before it was seated may still write."""
        await world.add(keyed("a"), keyed("b"))
        decided = cancel(await world.record("b"), has_cleanup=False)
        await do_delete(world, "a")

        assert decided is not None
        assert await world.verdict(decided) is Verdict.APPLIED

    async def test_the_seat_passes_through_the_clean_up(self, world: World) -> None:
        """A task waits for its clean-up like any due task of its key, and then lets the next one have it."""
        task = await world.take(keyed("a"), keyed("b", wait_until=world.at(60)))
        await do_cancel(world, "a", has_cleanup=True)
        await world.settle(await world.record("a"), rules=CLEANED_UP)
        waiting = await world.seated()
        (cleaning,) = (await world.claim("lease 2")).tasks
        await world.settle(cleaning, rules=CLEANED_UP)

        assert (task.id, waiting, cleaning.in_cleanup) == ("a", {"a"}, True)
        assert await world.seated() == {"b"}

    @pytest.mark.parametrize("seed", range(8))
    async def test_every_path_ends_with_the_rightful_seats(self, world: World, seed: int) -> None:
        """After each of many random steps every key's seat is with whom it belongs to."""
        assert await faults_of_a_storm(world, random.Random(seed)) == []


class StrictOrderTests:
    """Keys whose tasks run in order of creation."""

    async def test_creation_decides_and_not_the_time(self, world: World) -> None:
        """The first task created has the seat, even if a later one is due before it."""
        await world.add(keyed("a", strict_order=True, wait_until=world.at(60)), keyed("b", strict_order=True))

        assert await world.seated() == {"a"}
        assert await world.claimed_ids() == []

    async def test_a_failed_task_holds_up_those_behind_it(self, world: World) -> None:
        """In a strict order a retry keeps its place."""
        task = await world.take(keyed("a", strict_order=True), keyed("b", strict_order=True))

        await world.settle(task, a_failure(delay=HOUR))

        assert await world.seated() == {"a"}
        assert await world.claimed_ids("lease 2") == []

    async def test_the_next_comes_when_the_first_has_ended(self, world: World) -> None:
        """The order goes on with the first one's end, whatever its outcome."""
        task = await world.take(keyed("a", strict_order=True), keyed("b", strict_order=True))

        await world.settle(task, a_failure(final=True))

        assert await world.claimed_ids("lease 2") == ["b"]

    async def test_rescheduling_changes_no_place(self, world: World) -> None:
        """A task that is brought forward still waits for those created before it."""
        await world.add(
            keyed("a", strict_order=True, wait_until=world.at(60)),
            keyed("b", strict_order=True, wait_until=world.at(120)),
        )

        await world.verdict(reschedule(await world.record("b"), StoreNow()))

        assert await world.seated() == {"a"}

    async def test_a_deleted_task_holds_up_nobody(self, world: World) -> None:
        """The order closes the gap."""
        await world.add(keyed("a", strict_order=True, wait_until=world.at(60)), keyed("b", strict_order=True))

        await do_delete(world, "a")

        assert await world.claimed_ids() == ["b"]
