"""Groups: several tasks of one key under one lease, each with an end of its own."""

import pytest

from oncetask_conformance.factories import (
    HOUR,
    KEY,
    MINUTE,
    ONE_ATTEMPT,
    SECOND,
    a_failure,
    a_generator,
    a_new_task,
    keyed,
)
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.suite.seating import do_cancel, do_delete
from oncetask_conformance.world import World
from oncetask_core.decisions import Snoozed, Success, deletion
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Atom, Verdict


async def a_group(world: World, letters: str = "abc") -> list[OnceTask[object]]:
    """Insert one task of `KEY` per letter, and claim them all as one group."""
    await world.add(*(keyed(letter) for letter in letters))
    return list((await world.claim("group", group=len(letters))).tasks)


class GroupingTests:
    """Which tasks a group takes, and how it holds and gives up its key."""

    @on_both_clocks
    async def test_a_group_takes_the_head_and_its_successors(self, world: World) -> None:
        """The due tasks of the key come together, in order, under one lease."""
        await world.add(*(keyed(letter) for letter in "abcd"))

        group = (await world.claim("group", group=3)).tasks

        assert [task.id for task in group] == ["a", "b", "c"]
        assert {(await world.raw(letter)).lease_uid for letter in "abc"} == {"group"}
        assert (await world.raw("d")).lease_uid is None

    async def test_members_come_in_order_of_their_times(self, world: World) -> None:
        """Within a key the order is that of due times, then creation; priorities do not act."""
        for task_id, seconds in {"a": 30, "b": 10, "c": 20}.items():
            await world.add(keyed(task_id, wait_until=world.at(seconds), priority=-seconds // 10))
        await world.pass_time(MINUTE)

        assert await world.claimed_ids("group", group=3) == ["b", "c", "a"]

    async def test_a_group_of_one_is_a_single_task(self, world: World) -> None:
        """Without room for successors only the head is taken."""
        await world.add(keyed("a"), keyed("b"))

        assert await world.claimed_ids("group", group=1) == ["a"]

    async def test_slots_count_groups_and_not_members(self, world: World) -> None:
        """Each group needs one slot, however many members it has."""
        await world.add(*(a_new_task(f"{key}{n}", resource_key=key) for key in "xyz" for n in range(3)))

        assert await world.claimed_ids("groups", limit=2, group=2) == ["x0", "x1", "y0", "y1"]

    async def test_members_stand_behind_their_head(self, world: World) -> None:
        """Groups are not mixed in the reply, even where their members' times are."""
        await world.add(*(a_new_task(f"{key}{n}", resource_key=key) for n in range(2) for key in "xy"))

        assert await world.claimed_ids("groups", group=2) == ["x0", "x1", "y0", "y1"]

    async def test_keyless_tasks_form_no_group(self, world: World) -> None:
        """Without a key every task takes a slot of its own."""
        await world.add(*(a_new_task(letter) for letter in "abc"))

        assert await world.claimed_ids("group", limit=2, group=5) == ["a", "b"]

    async def test_members_are_of_one_kind(self, world: World) -> None:
        """A task of another kind with the same key is no successor."""
        await world.add(keyed("a"), keyed("b", kind="letter"), keyed("c"))

        assert await world.claimed_ids("group", group=3) == ["a", "c"]

    async def test_what_is_not_due_does_not_join(self, world: World) -> None:
        """A group takes no task before its time, but one that comes behind it."""
        await world.add(keyed("a"), keyed("b", wait_until=StoreNow(HOUR)), keyed("c"))

        assert await world.claimed_ids("group", group=3) == ["a", "c"]

    async def test_a_generator_does_not_join(self, world: World) -> None:
        """Generators are never claimed."""
        await world.add(keyed("a"), a_generator("b", resource_key=KEY), keyed("c"))

        assert await world.claimed_ids("group", group=3) == ["a", "c"]

    async def test_a_finished_task_does_not_join(self, world: World) -> None:
        """What has ended is not run again with its successors."""
        await world.settle(await world.take(keyed("a"), keyed("b"), keyed("c")))

        assert await world.claimed_ids("group", group=3) == ["b", "c"]

    async def test_a_strict_order_stops_the_group_at_a_gap(self, world: World) -> None:
        """Nobody passes a task that is not due yet where the order is strict."""
        await world.add(
            keyed("a", strict_order=True),
            keyed("b", strict_order=True, wait_until=StoreNow(HOUR)),
            keyed("c", strict_order=True),
        )

        assert await world.claimed_ids("group", group=3) == ["a"]

    async def test_a_suspect_does_not_join(self, world: World) -> None:
        """A task that crashed a worker is not run beside others."""
        await world.add(keyed("b"))
        await world.crash("b")
        await world.add(keyed("a", wait_until=world.at(-60)), keyed("c"))

        assert await world.claimed_ids("group", group=3) == ["a", "c"]

    async def test_a_suspect_is_taken_alone(self, world: World) -> None:
        """A head that crashed a worker has no successors with it."""
        await world.add(keyed("a"), keyed("b"))
        await world.crash("a")

        assert await world.claimed_ids("group", group=3, suspects=True) == ["a"]

    async def test_a_suspect_head_holds_up_its_key(self, world: World) -> None:
        """An ordinary claim does not pass a suspect that is next in its key."""
        await world.add(keyed("a"), keyed("b"))
        await world.crash("a")

        assert await world.claimed_ids("group", group=3) == []

    @on_both_clocks
    async def test_the_key_stays_until_the_last_member_ends(self, world: World) -> None:
        """While one member is held, nobody else gets the key."""
        group = await a_group(world)
        await world.add(keyed("d"))

        seats = []
        for task in group:
            seats.append(await world.seated())
            await world.settle(task)

        assert seats == [set(), set(), set()]
        assert await world.seated() == {"d"}

    async def test_a_member_that_comes_back_waits_for_the_others(self, world: World) -> None:
        """A member that is to be retried at once is not seated while another is still held."""
        group = await a_group(world)

        await world.settle(group[0], a_failure(delay=0 * SECOND))
        meanwhile = (await world.seated(), await world.claimed_ids("another"))
        await world.settle(group[1])
        await world.settle(group[2])

        assert meanwhile == (set(), [])
        assert await world.seated() == {"a"}

    async def test_each_member_has_an_outcome_of_its_own(self, world: World) -> None:
        """Members of one group complete, fail and wait side by side."""
        one, two, three = await a_group(world)

        await world.settle(one, Success('"done"'))
        await world.settle(two, a_failure(), ONE_ATTEMPT)
        await world.settle(three, Snoozed(HOUR))

        outcomes = {task.id: task.outcome for task in (await world.everything()).values()}
        assert outcomes == {"a": Outcome.COMPLETED, "b": Outcome.FAILED, "c": None}

    async def test_members_are_settled_together(self, world: World) -> None:
        """One atom may settle a whole group."""
        group = await a_group(world)

        answers = await world.store.apply([Atom(tuple(world.conclusion(task) for task in group))])

        assert [answer.verdict for answer in answers] == [Verdict.APPLIED]
        assert {task.outcome for task in (await world.everything()).values()} == {Outcome.COMPLETED}

    async def test_a_deleted_member_leaves_the_others_alone(self, world: World) -> None:
        """When a member is deleted meanwhile, the others can be settled, and the key passes on."""
        one, two, three = await a_group(world)
        await world.add(keyed("d"))
        await do_delete(world, "b")

        verdicts = [await world.settle(task) for task in (one, two, three)]

        assert verdicts == [Verdict.APPLIED, Verdict.MISSING, Verdict.APPLIED]
        assert await world.seated() == {"d"}

    async def test_the_deleted_last_member_frees_the_key(self, world: World) -> None:
        """The key does not wait for a member that exists no more."""
        one, two = await a_group(world, "ab")
        await world.add(keyed("c"))
        await world.settle(one)
        held = await world.seated()
        await world.store.delete([deletion(two)])

        assert (held, await world.seated()) == (set(), {"c"})

    async def test_a_cancelled_member_leaves_the_others_alone(self, world: World) -> None:
        """A cancelled member is decided anew, and its neighbours are settled as they were claimed."""
        one, two, _ = await a_group(world)
        await do_cancel(world, "a")

        assert [await world.settle(task) for task in (one, two)] == [Verdict.CHANGED, Verdict.APPLIED]
        assert await world.settle(await world.record("a")) is Verdict.APPLIED
        assert (await world.raw("a")).outcome is Outcome.CANCELLED

    @on_both_clocks
    async def test_a_member_that_was_expired_is_lost_to_the_group(self, world: World) -> None:
        """The lease still holds other members, and yet the late settle of the expired one is refused."""
        await world.add(*(keyed(letter) for letter in "ab"))
        one, two = (await world.claim("group", group=2, lease_for=world.short)).tasks
        await world.pass_time(world.short)
        await world.expire(one)
        before = await world.raw("a")

        assert await world.settle(one) is Verdict.LEASE_LOST
        assert await world.raw("a") == before
        assert await world.settle(two) is Verdict.APPLIED

    async def test_an_expired_member_does_not_free_the_key(self, world: World) -> None:
        """The other members' lease still holds the key."""
        await world.add(*(keyed(letter) for letter in "abc"))
        one, _ = (await world.claim("group", group=2, lease_for=world.short)).tasks
        await world.pass_time(world.short)
        await world.expire(one)

        assert await world.seated() == set()
        assert await world.claimed_ids("another", suspects=True) == []

    async def test_a_member_created_anew_is_not_the_groups(self, world: World) -> None:
        """A task under a member's id, created while the others are held, belongs to nobody."""
        _, two, _ = await a_group(world)
        await do_delete(world, "b")
        await world.add(keyed("b", run_uid="second run"))

        assert await world.settle(two) is Verdict.LEASE_LOST
        assert (await world.raw("b")).outcome is None

    @on_both_clocks
    async def test_a_repeat_returns_the_whole_group(self, world: World) -> None:
        """After a lost reply the members come again, in the same order."""
        group = await a_group(world)

        assert list((await world.claim("group", group=1)).tasks) == group

    @on_both_clocks
    async def test_a_renewal_extends_every_member(self, world: World) -> None:
        """One lease, one renewal, all of its members."""
        await world.add(*(keyed(letter) for letter in "abc"))
        await world.claim("group", group=3, lease_for=MINUTE)

        renewed = await world.store.renew({"group": 2 * HOUR})

        assert {lease.id for lease in renewed.held} == {"a", "b", "c"}
        assert {task.leased_until for task in (await world.everything()).values()} == {renewed.now + 2 * HOUR}

    async def test_fence_numbers_do_not_fall_within_a_group(self, world: World) -> None:
        """Members share the number or have rising ones, all above the key's earlier holders."""
        first = await world.take(keyed("z"))
        await world.settle(first)

        numbers = [task.epoch for task in await a_group(world)]

        assert numbers == sorted(numbers)
        assert numbers[0] > first.epoch

    async def test_only_the_head_is_seated(self, world: World) -> None:
        """A group occupies one seat: its members have none."""
        await a_group(world)

        heads = {task.id: task.head_key for task in (await world.seats()).values()}
        assert heads == {"a": KEY, "b": None, "c": None}

    @pytest.mark.parametrize("size", [2, 3, 7])
    async def test_a_group_is_no_larger_than_asked(self, world: World, size: int) -> None:
        """The head counts as a member."""
        await world.add(*(keyed(f"{n}") for n in range(9)))

        assert len(await world.claimed_ids("group", group=size)) == size

    async def test_a_late_group_cannot_end_its_successors(self, world: World) -> None:
        """Once all members were expired, the old group changes nothing of the next holder's."""
        await world.add(*(keyed(letter) for letter in "ab"))
        old = (await world.claim("group", group=2, lease_for=world.short)).tasks
        await world.pass_time(world.short)
        for task in old:
            await world.expire(task)
        await world.claim("another", suspects=True)
        before = await world.everything()

        assert [await world.settle(task) for task in old] == [Verdict.LEASE_LOST, Verdict.LEASE_LOST]
        assert await world.everything() == before
