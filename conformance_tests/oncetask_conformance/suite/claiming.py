"""Claiming: what is taken, in which order, and what a grant writes."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from oncetask_conformance.factories import (
    HOUR,
    KIND,
    MINUTE,
    SECOND,
    a_claim,
    a_failure,
    a_generator,
    a_new_task,
    keyed,
)
from oncetask_conformance.harness import SPOILED_RECORDS, RawTask, as_raw
from oncetask_conformance.running import needs, on_both_clocks
from oncetask_conformance.states import FINISHED, HELD, State, kind_of, only, reach
from oncetask_conformance.world import World
from oncetask_core.claims import Claim, Slots
from oncetask_core.decisions import Released, deletion, reset
from oncetask_core.task import StoreNow
from oncetask_core.transition import Verdict

WRITTEN_BY_A_CLAIM = {
    "lease_uid",
    "leased_by",
    "leased_until",
    "epoch",
    "in_cleanup",
    "started_at",
    "claims",
    "revision",
}
CLAIMABLE = (
    State.CRASHED,
    State.PENDING,
    State.RELEASED,
    State.CANCELLING,
)


def differences(before: RawTask, after: RawTask) -> set[str]:
    """Return the names of the fields that differ."""
    return {name for name in RawTask.__struct_fields__ if getattr(before, name) != getattr(after, name)}


class GrantingTests:
    """What a claim writes and returns."""

    @on_both_clocks
    async def test_a_lease_begins_at_the_stores_now(self, world: World) -> None:
        """The lease lasts from the time in the reply for as long as was asked."""
        await world.add(a_new_task("a"))
        await world.pass_time(timedelta(milliseconds=5))

        claimed = await world.claim("lease 1", lease_for=timedelta(seconds=90))

        raw = await world.raw("a")
        assert raw.started_at == claimed.now
        assert raw.leased_until == claimed.now + timedelta(seconds=90)

    @on_both_clocks
    async def test_the_reply_carries_the_stores_time(self, world: World) -> None:
        """`now` is the store's time during the call, whether or not anything was taken."""
        await world.pass_time(timedelta(milliseconds=5))
        before = await world.store.now()
        claimed = await world.claim()

        assert before <= claimed.now <= await world.store.now()

    @on_both_clocks
    async def test_the_lease_names_the_call_and_the_worker(self, world: World) -> None:
        """The storage says which claim call holds the task, and for whom."""
        await world.add(a_new_task("a"))

        await world.claim("lease 7", leased_by="worker on host 3")

        raw = await world.raw("a")
        assert (raw.lease_uid, raw.leased_by) == ("lease 7", "worker on host 3")

    @on_both_clocks
    @pytest.mark.parametrize("state", CLAIMABLE)
    async def test_what_is_returned_lies_in_the_storage(self, world: World, state: State) -> None:
        """The records in the reply are the leased ones, in every field."""
        task = await reach(world, state, "a")
        claim = msgspec.structs.replace(only("a", lease_uid="lease 2"), suspects=task.is_suspect)

        (taken,) = (await world.store.claim(claim)).tasks

        assert as_raw(taken) == await world.raw("a")
        assert taken.lease_uid == "lease 2"

    @on_both_clocks
    @pytest.mark.parametrize("state", CLAIMABLE)
    async def test_a_grant_writes_the_lease_and_nothing_else(self, world: World, state: State) -> None:
        """Payload, history and times of the task are left alone; a claim and a revision are counted."""
        task = await reach(world, state, "a")
        before = await world.raw("a")

        await world.store.claim(msgspec.structs.replace(only("a", lease_uid="lease 2"), suspects=task.is_suspect))

        after = await world.raw("a")
        assert differences(before, after) <= WRITTEN_BY_A_CLAIM
        assert (after.claims, after.revision) == (before.claims + 1, before.revision + 1)

    @on_both_clocks
    async def test_an_ordinary_grant_is_for_the_handler(self, world: World) -> None:
        """A task that nobody cancelled is not claimed for the clean-up."""
        await world.add(a_new_task("a"))

        (task,) = (await world.claim()).tasks

        assert not task.in_cleanup
        assert task.attempts == 1

    @on_both_clocks
    async def test_a_cancelled_task_is_granted_for_its_clean_up(self, world: World) -> None:
        """After a cancel no claim is for the normal handler."""
        await reach(world, State.CANCELLING, "a")

        (task,) = (await world.store.claim(only("a"))).tasks

        assert task.in_cleanup
        assert (await world.raw("a")).in_cleanup

    @on_both_clocks
    async def test_later_grants_have_higher_fence_numbers(self, world: World) -> None:
        """Every claim of a task gets a number above all earlier ones."""
        numbers = []
        await world.add(a_new_task("a"))
        for round_ in range(4):
            (task,) = (await world.claim(f"lease {round_}")).tasks
            numbers.append(task.epoch)
            await world.settle(task, Released())

        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0

    async def test_fence_numbers_rise_across_a_reset(self, world: World) -> None:
        """A new run does not begin to count anew."""
        first = await world.take(a_new_task("a"))
        await world.settle(first)
        await world.submit(reset(await world.record("a"), run_uid="second run"))

        (second,) = (await world.claim("lease 2")).tasks

        assert second.epoch > first.epoch

    async def test_fence_numbers_rise_across_deletion_and_re_creation(self, world: World) -> None:
        """A task under an id that existed is above every earlier holder of that id."""
        first = await world.take(a_new_task("a"))
        await world.store.delete([deletion(first)])

        second = await world.take(a_new_task("a", run_uid="second"), lease_uid="lease 2")

        assert second.epoch > first.epoch

    async def test_fence_numbers_rise_from_task_to_task_of_a_key(self, world: World) -> None:
        """What guards a resource outside sees rising numbers, whichever task of the key comes."""
        first = await world.take(keyed("a"), keyed("b"))
        await world.settle(first)

        (second,) = (await world.claim("lease 2")).tasks

        assert (second.id, second.epoch > first.epoch) == ("b", True)

    async def test_fence_numbers_of_a_key_outlive_its_tasks(self, world: World) -> None:
        """When all tasks of a key were deleted, the next one of the key is above them all the same."""
        first = await world.take(keyed("a"))
        await world.store.delete([deletion(first)])

        second = await world.take(keyed("b"), lease_uid="lease 2")

        assert second.epoch > first.epoch


class TakingTests:
    """Which tasks a claim takes."""

    @on_both_clocks
    async def test_a_task_is_not_taken_before_its_time(self, world: World) -> None:
        """What has to wait is not claimed, and is claimed when its time has come."""
        await world.add(a_new_task("a", wait_until=StoreNow(world.short)), a_new_task("b", wait_until=StoreNow(HOUR)))
        if world.clock is not None:
            assert await world.claimed_ids("lease 1") == []
        await world.pass_time(world.short)

        assert await world.claimed_ids("lease 2") == ["a"]

    async def test_a_task_is_due_at_the_very_instant(self, world: World) -> None:
        """Due means `wait_until` has been reached, not passed."""
        await world.add(a_new_task("a", wait_until=world.at(60)))
        await world.pass_time(MINUTE - timedelta(microseconds=1))
        too_early = await world.claimed_ids("lease 1")
        await world.pass_time(timedelta(microseconds=1))

        assert (too_early, await world.claimed_ids("lease 2")) == ([], ["a"])

    @pytest.mark.parametrize("priority", [1, 10])
    async def test_priority_makes_nothing_due(self, world: World, priority: int) -> None:
        """An urgent task waits for its time as well."""
        await world.add(a_new_task("a", wait_until=StoreNow(SECOND), priority=priority))

        assert await world.claimed_ids() == []

    @on_both_clocks
    @pytest.mark.parametrize("state", [*HELD, *FINISHED, State.WAITING, State.RETRYING, State.SNOOZED, State.GENERATOR])
    async def test_what_is_held_finished_or_not_due_is_not_taken(self, world: World, state: State) -> None:
        """Leases that ran out are not touched either: they have to be expired first."""
        await reach(world, state, "a")
        before = await world.raw("a")

        taken = [(await world.store.claim(_whichever(suspects=suspects))).tasks for suspects in (False, True)]

        assert [list(tasks) for tasks in taken] == [[], []]
        assert await world.raw("a") == before

    async def test_only_named_kinds_are_taken(self, world: World) -> None:
        """Tasks of a kind that the worker did not name stay where they are."""
        await world.add(a_new_task("a", kind="letter"), a_new_task("b", kind="Parcel"), a_new_task("c", kind="parcel"))

        assert await world.claimed_ids(kinds=["parcel", "postcard"]) == ["c"]

    @on_both_clocks
    async def test_no_more_are_taken_than_there_are_slots(self, world: World) -> None:
        """The limit of a kind is kept, and the rest is left for the next claim."""
        await world.add(*(a_new_task(letter) for letter in "abcde"))

        first = await world.claimed_ids("lease 1", limit=2)
        second = await world.claimed_ids("lease 2", limit=9)

        assert (first, second) == (["a", "b"], ["c", "d", "e"])

    async def test_each_kind_has_slots_of_its_own(self, world: World) -> None:
        """A busy kind takes no slot of another."""
        await world.add(*(a_new_task(f"{kind}{n}", kind=kind) for kind in ("letter", "parcel") for n in range(4)))
        claim = msgspec.structs.replace(a_claim(), slots={"letter": Slots(1), "parcel": Slots(3)})

        taken = {task.id for task in (await world.store.claim(claim)).tasks}

        assert taken == {"letter0", "parcel0", "parcel1", "parcel2"}

    @pytest.mark.parametrize("slots", [{}, {KIND: Slots(0)}])
    async def test_without_slots_nothing_is_taken(self, world: World, slots: dict[str, Slots]) -> None:
        """A worker that has no room gets nothing."""
        await world.add(a_new_task("a"))

        claimed = await world.store.claim(msgspec.structs.replace(a_claim(), slots=slots))

        assert list(claimed.tasks) == []
        assert (await world.raw("a")).lease_uid is None

    async def test_the_earliest_due_come_first(self, world: World) -> None:
        """Tasks are taken in the order of their times, not of their creation or ids."""
        for task_id, seconds in {"a": 30, "b": 10, "c": 20}.items():
            await world.add(a_new_task(task_id, wait_until=world.at(seconds)))
        await world.pass_time(MINUTE)

        assert await world.claimed_ids() == ["b", "c", "a"]

    async def test_creation_decides_between_equal_times(self, world: World) -> None:
        """Tasks of the same time are taken as they were created."""
        await world.add(*(a_new_task(letter, wait_until=world.at(0)) for letter in "cab"))

        assert await world.claimed_ids() == ["c", "a", "b"]

    async def test_a_step_of_priority_outweighs_a_minute(self, world: World) -> None:
        """A task one step more urgent is taken before one that has waited up to a minute longer."""
        await world.add(a_new_task("patient", wait_until=world.at(0)))
        await world.add(a_new_task("urgent", wait_until=world.at(59), priority=1))
        await world.pass_time(MINUTE)

        assert await world.claimed_ids() == ["urgent", "patient"]

    async def test_waiting_long_enough_outweighs_priority(self, world: World) -> None:
        """Urgent tasks starve nobody: who has waited more than a minute longer comes first."""
        await world.add(a_new_task("patient", wait_until=world.at(0)))
        await world.add(a_new_task("urgent", wait_until=world.at(61), priority=1))
        await world.pass_time(2 * MINUTE)

        assert await world.claimed_ids() == ["patient", "urgent"]

    async def test_a_low_priority_comes_last(self, world: World) -> None:
        """A negative priority puts a task behind its contemporaries."""
        await world.add(a_new_task("later", priority=-10), a_new_task("sooner"))

        assert await world.claimed_ids(limit=1) == ["sooner"]

    async def test_priority_decides_who_gets_the_last_slot(self, world: World) -> None:
        """With one slot the most urgent of many is taken."""
        await world.add(*(a_new_task(f"{n}", priority=n) for n in range(-5, 6)))

        assert await world.claimed_ids(limit=1) == ["5"]

    @on_both_clocks
    async def test_a_leased_task_is_not_taken_by_another_call(self, world: World) -> None:
        """A task is held by one lease at a time."""
        await world.add(a_new_task("a"))

        first = await world.claimed_ids("lease 1")
        second = await world.claimed_ids("lease 2")

        assert (first, second) == (["a"], [])
        assert (await world.raw("a")).lease_uid == "lease 1"

    @on_both_clocks
    async def test_concurrent_claims_share_nothing(self, world: World) -> None:
        """Of several instances that claim at once no two get the same task, and all is taken."""
        await world.add(*(a_new_task(f"task {n}") for n in range(30)))
        stores = [world.store, *[await world.another() for _ in range(3)]]

        replies = await asyncio.gather(
            *(store.claim(a_claim(f"lease {n}", limit=9)) for n, store in enumerate([*stores, *stores]))
        )

        taken = [task.id for reply in replies for task in reply.tasks]
        assert len(taken) == len(set(taken)) == 30

    @on_both_clocks
    async def test_a_failed_attempt_is_taken_again_when_its_delay_is_over(self, world: World) -> None:
        """A retry is claimed like any task that waits for its time, and counts as the next attempt."""
        task = await world.take(a_new_task("a"))
        await world.settle(task, a_failure(delay=world.short))
        await world.pass_time(world.short)

        (again,) = (await world.claim("lease 2")).tasks

        assert (again.id, again.attempts, again.failures, again.claims) == ("a", 2, 1, 2)


class SuspectsTests:
    """Tasks that a worker vanished with."""

    @on_both_clocks
    async def test_an_ordinary_claim_takes_no_suspect(self, world: World) -> None:
        """A task that crashed a worker is not run beside others."""
        await world.add(a_new_task("a"))
        await world.crash("a")
        await world.add(a_new_task("b"))

        assert await world.claimed_ids("lease 2") == ["b"]

    @on_both_clocks
    async def test_a_claim_for_suspects_takes_nothing_else(self, world: World) -> None:
        """Tasks that crashed nobody are left for ordinary claims."""
        await world.add(a_new_task("a"))
        await world.crash("a")
        await world.add(a_new_task("b"))

        assert await world.claimed_ids("lease 2", suspects=True) == ["a"]

    async def test_suspects_are_taken_one_at_a_time(self, world: World) -> None:
        """However many slots there are, a suspect runs alone."""
        await world.add(a_new_task("a"), a_new_task("b"))
        await world.crash("a")
        assert await world.expire(await world.record("b")) is Verdict.APPLIED

        first = await world.claimed_ids("lease 2", suspects=True)
        second = await world.claimed_ids("lease 3", suspects=True)

        assert (first, second) == (["a"], ["b"])

    async def test_only_suspects_of_named_kinds_are_taken(self, world: World) -> None:
        """A worker takes no suspect of a kind that it does not serve."""
        await world.add(a_new_task("a"))
        await world.crash("a")

        assert await world.claimed_ids("lease 2", suspects=True, kinds=["letter"]) == []

    async def test_a_crash_of_an_earlier_run_is_forgotten(self, world: World) -> None:
        """After a reset the task is an ordinary one."""
        await world.add(a_new_task("a"))
        await world.crash("a")
        (task,) = (await world.claim("lease 2", suspects=True)).tasks
        await world.settle(task)
        await world.submit(reset(await world.record("a"), run_uid="second run"))

        assert await world.claimed_ids("lease 3") == ["a"]


class RepeatingTests:
    """The same claim again, after a reply was lost."""

    @on_both_clocks
    async def test_a_repeat_returns_what_the_lease_holds(self, world: World) -> None:
        """The same lease gets the same tasks again, and nothing more, though more is due."""
        await world.add(*(a_new_task(letter) for letter in "abcd"))
        first = (await world.claim("lease 1", limit=2)).tasks

        again = (await world.claim("lease 1", limit=2)).tasks

        assert list(again) == list(first)
        assert (await world.raw("c")).lease_uid is None

    async def test_a_repeat_writes_nothing(self, world: World) -> None:
        """Neither the lease's end nor a counter moves."""
        await world.add(a_new_task("a"), a_new_task("b"))
        await world.claim("lease 1", limit=1)
        before = await world.everything()
        await world.pass_time(SECOND)

        await world.claim("lease 1", limit=5)

        assert await world.everything() == before

    async def test_a_repeat_need_not_ask_for_the_same(self, world: World) -> None:
        """Whatever the slots say now, the lease holds what it holds, in claim order."""
        await world.add(a_new_task("a", priority=-1), a_new_task("b"), a_new_task("c", priority=1))
        await world.claim("lease 1")

        again = await world.claimed_ids("lease 1", kinds=["letter"], limit=1)

        assert again == ["c", "b", "a"]

    async def test_a_repeat_returns_only_what_is_still_held(self, world: World) -> None:
        """What was settled meanwhile is not handed out again."""
        await world.add(*(a_new_task(letter) for letter in "abc"))
        tasks = (await world.claim("lease 1")).tasks
        await world.settle(tasks[1])

        assert await world.claimed_ids("lease 1") == ["a", "c"]

    async def test_a_repeat_at_another_instance_returns_the_same(self, world: World) -> None:
        """What a lease holds is in the storage, not in the instance that granted it."""
        await world.add(a_new_task("a"), a_new_task("b"))
        first = (await world.claim("lease 1", limit=1)).tasks
        other = await world.another()

        again = await other.claim(a_claim("lease 1", limit=1))

        assert list(again.tasks) == list(first)


class NextDueTests:
    """When the worker should look again."""

    @on_both_clocks
    async def test_the_reply_names_the_next_time_something_becomes_due(self, world: World) -> None:
        """With nothing else to take, the earliest later time of the claimed kinds is told."""
        await world.add(a_new_task("a", wait_until=StoreNow(2 * HOUR)), a_new_task("b", wait_until=StoreNow(HOUR)))

        claimed = await world.claim()

        assert claimed.next_due == (await world.raw("b")).wait_until

    async def test_generators_count_for_the_next_time(self, world: World) -> None:
        """A worker wakes for a generator's slot as well."""
        await world.add(a_generator("a", wait_until=world.at(90)), a_new_task("b", wait_until=world.at(120)))

        assert (await world.claim()).next_due == world.at(90)

    async def test_without_anything_to_wait_for_there_is_no_next_time(self, world: World) -> None:
        """Finished, held and foreign tasks are not waited for."""
        await reach(world, State.COMPLETED, "a")
        await reach(world, State.LEASED, "b")
        await world.add(a_new_task("c", kind="letter", wait_until=world.at(60)))

        claimed = await world.claim("lease 2", kinds=[KIND, kind_of("a"), kind_of("b")])

        assert (list(claimed.tasks), claimed.next_due) == ([], None)

    async def test_the_next_time_is_later_than_now(self, world: World) -> None:
        """A task that is due but not to be had, here a suspect, names no time in the past."""
        await world.add(a_new_task("a"))
        await world.crash("a")
        await world.add(a_new_task("b", wait_until=world.at(3600)))

        assert (await world.claim("lease 2")).next_due == world.at(3600)


class UnreadableTests:
    """Damaged records among those that are due."""

    @needs(SPOILED_RECORDS)
    async def test_an_unreadable_record_holds_up_nobody(self, world: World) -> None:
        """A damaged record at the head of the line is reported and set aside; those behind it are taken."""
        await world.add(*(a_new_task(letter) for letter in "abc"))
        await world.space.spoil(world.store.env, "a")

        claimed = await world.claim("lease 1", limit=1)
        again = await world.claim("lease 2")

        assert [task.id for task in claimed.tasks] == ["b"]
        assert set(claimed.unreadable) == {"a"}
        assert ([task.id for task in again.tasks], dict(again.unreadable)) == (["c"], {})

    @needs(SPOILED_RECORDS)
    async def test_an_unreadable_head_frees_its_key(self, world: World) -> None:
        """A damaged record does not keep the seat of its key for ever."""
        await world.add(keyed("a"), keyed("b"))
        await world.space.spoil(world.store.env, "a")

        taken = [*await world.claimed_ids("lease 1"), *await world.claimed_ids("lease 2")]

        assert taken == ["b"]

    @needs(SPOILED_RECORDS)
    async def test_an_unreadable_record_stays_listed(self, world: World) -> None:
        """What was set aside can still be found and reported."""
        await world.add(a_new_task("a"))
        await world.space.spoil(world.store.env, "a")
        await world.claim()

        assert set((await world.store.get(["a"])).unreadable) == {"a"}


def _whichever(*, suspects: bool) -> Claim:
    return a_claim("another lease", kinds=[kind_of("a")], suspects=suspects)
