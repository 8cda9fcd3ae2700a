"""Ticking: an occurrence and its generator's next slot are one atom."""

from datetime import datetime

import pytest

from oncetask_conformance.factories import HOUR, KEY, MINUTE, a_generator, a_new_task, keyed
from oncetask_conformance.suite.seating import do_cancel, do_delete
from oncetask_conformance.world import World
from oncetask_core.decisions import Uids, break_off, reset, tick
from oncetask_core.query import TaskFilter
from oncetask_core.recurrence import Cursor, Due, occurrence_id
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom, Verdict

DAY = 86_400


def a_tick(generator: OnceTask[object], *slots: datetime, then: Cursor | None, by: str = "worker 1") -> Atom:
    """Return the tick by which these slots of a generator fire."""
    uids = Uids(created_by=by, run_uids=tuple(f"run of slot {n} by {by}" for n in range(len(slots))))
    return tick(generator, Due(fire=slots, next=then), uids)


def daily(world: World, generator: OnceTask[object], *, by: str = "worker 1") -> Atom:
    """Return the tick of the first day, with the second day next."""
    return a_tick(generator, world.at(0), then=Cursor(world.at(DAY), 1), by=by)


class TickingTests:
    """What a tick writes."""

    async def test_the_generator_moves_on_and_the_occurrence_exists(self, world: World) -> None:
        """Both are written by one atom."""
        await world.add(a_generator("a", priority=2))

        (answer,) = await world.store.apply([daily(world, await world.record("a"))])

        generator = await world.raw("a")
        assert answer.verdict is Verdict.APPLIED
        assert [inserted.created for inserted in answer.inserted] == [True]
        assert (generator.wait_until, generator.order_at) == (world.at(DAY), world.at(DAY) - 2 * MINUTE)
        assert (generator.slots_used, generator.revision) == (1, 1)
        assert set(await world.everything()) == {"a", occurrence_id("a", world.at(0))}

    @pytest.mark.parametrize(
        "field", ["kind", "payload", "resource_key", "strict_order", "queue", "priority", "headers"]
    )
    async def test_an_occurrence_inherits_from_its_generator(self, world: World, field: str) -> None:
        """What the generator was created with is what its occurrences are created with."""
        new = a_generator("a", resource_key=KEY, strict_order=True, queue="slow", priority=-2, headers={"a": "b"})
        await world.add(new)
        await world.store.apply([daily(world, await world.record("a"))])

        occurrence = await world.raw(occurrence_id("a", world.at(0)))
        assert getattr(occurrence, field) == getattr(new, field)

    async def test_an_occurrence_knows_its_generator_and_slot(self, world: World) -> None:
        """It is linked to both, and recurs no more itself."""
        await world.add(a_generator("a"))
        await world.store.apply([daily(world, await world.record("a"))])

        occurrence = await world.raw(occurrence_id("a", world.at(0)))
        assert (occurrence.parent_recurrence_id, occurrence.occurrence_timestamp) == ("a", world.at(0))
        assert (occurrence.recurrence, occurrence.wait_until) == (None, world.at(0))

    async def test_an_occurrence_is_claimed_like_any_task(self, world: World) -> None:
        """The generator is not claimed, its occurrence is."""
        await world.add(a_generator("a"))
        await world.store.apply([daily(world, await world.record("a"))])

        assert await world.claimed_ids() == [occurrence_id("a", world.at(0))]

    async def test_of_two_workers_that_tick_at_once_one_succeeds(self, world: World) -> None:
        """The other finds the generator changed, and creates nothing."""
        await world.add(a_generator("a"))
        generator = await world.record("a")
        first = a_tick(generator, world.at(0), then=Cursor(world.at(DAY), 1))
        second = a_tick(generator, world.at(0), world.at(3600), then=Cursor(world.at(2 * DAY), 3), by="worker 2")

        answers = [*await world.store.apply([first]), *await world.store.apply([second])]

        assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.CHANGED]
        assert (await world.raw("a")).wait_until == world.at(DAY)
        assert set(await world.everything()) == {"a", occurrence_id("a", world.at(0))}
        assert (await world.raw(occurrence_id("a", world.at(0)))).created_by == "worker 1"

    async def test_two_ticks_in_one_call_are_judged_one_after_the_other(self, world: World) -> None:
        """The second sees what the first has written."""
        await world.add(a_generator("a"))
        generator = await world.record("a")

        answers = await world.store.apply([daily(world, generator), daily(world, generator, by="worker 2")])

        assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.CHANGED]
        assert (await world.raw("a")).slots_used == 1

    async def test_an_occurrence_that_exists_does_not_hold_up_its_generator(self, world: World) -> None:
        """The generator moves on, and the existing task is reported and left alone."""
        slot = occurrence_id("a", world.at(0))
        await world.add(a_generator("a"), a_new_task(slot, kind="letter", created_by="somebody"))
        before = await world.raw(slot)

        (answer,) = await world.store.apply([daily(world, await world.record("a"))])

        assert answer.verdict is Verdict.APPLIED
        assert [(one.created, one.kind, one.created_by) for one in answer.inserted] == [(False, "letter", "somebody")]
        assert (await world.raw("a")).wait_until == world.at(DAY)
        assert await world.raw(slot) == before

    async def test_several_slots_fire_in_one_tick(self, world: World) -> None:
        """All occurrences are created with the one move, in order."""
        await world.add(a_generator("a"))
        slots = [world.at(n * DAY) for n in range(3)]

        (answer,) = await world.store.apply(
            [a_tick(await world.record("a"), *slots, then=Cursor(world.at(3 * DAY), 3))]
        )

        assert [inserted.id for inserted in answer.inserted] == [occurrence_id("a", slot) for slot in slots]
        assert await world.store.count(TaskFilter()) == 4

    async def test_a_tick_may_fire_nothing(self, world: World) -> None:
        """A generator moves on without an occurrence where its slots are skipped."""
        await world.add(a_generator("a"))

        (answer,) = await world.store.apply([a_tick(await world.record("a"), then=Cursor(world.at(DAY), 1))])

        assert (answer.verdict, answer.inserted) == (Verdict.APPLIED, ())
        assert set(await world.everything()) == {"a"}

    async def test_the_last_slot_completes_the_generator(self, world: World) -> None:
        """A rule that is used up ends, and its last occurrence goes on."""
        await world.add(a_generator("a"))

        await world.store.apply([a_tick(await world.record("a"), world.at(0), then=None)])

        assert (await world.raw("a")).outcome is Outcome.COMPLETED
        assert (await world.raw(occurrence_id("a", world.at(0)))).outcome is None

    async def test_a_generator_that_was_cancelled_ticks_no_more(self, world: World) -> None:
        """A tick decided before the cancel creates nothing."""
        await world.add(a_generator("a"))
        decided = daily(world, await world.record("a"))
        await do_cancel(world, "a")

        (answer,) = await world.store.apply([decided])

        assert answer.verdict is Verdict.CHANGED
        assert set(await world.everything()) == {"a"}

    async def test_a_generator_that_was_deleted_ticks_no_more(self, world: World) -> None:
        """A tick decided before the deletion creates nothing."""
        await world.add(a_generator("a"))
        decided = daily(world, await world.record("a"))
        await do_delete(world, "a")

        (answer,) = await world.store.apply([decided])

        assert (answer.verdict, answer.inserted) == (Verdict.MISSING, ())
        assert await world.everything() == {}

    async def test_a_generator_created_anew_is_not_moved_by_an_old_tick(self, world: World) -> None:
        """An equal id at an equal revision is not the same generator."""
        await world.add(a_generator("a"))
        decided = daily(world, await world.record("a"))
        await do_delete(world, "a")
        await world.add(a_generator("a", run_uid="second run"))

        (answer,) = await world.store.apply([decided])

        assert answer.verdict is Verdict.CHANGED
        assert set(await world.everything()) == {"a"}

    async def test_cancelling_a_generator_leaves_its_occurrences(self, world: World) -> None:
        """What was created goes on."""
        await world.add(a_generator("a"))
        await world.store.apply([daily(world, await world.record("a"))])

        await do_cancel(world, "a")

        assert await world.claimed_ids() == [occurrence_id("a", world.at(0))]

    async def test_an_occurrence_takes_part_in_its_key(self, world: World) -> None:
        """It is seated when the key is free, and waits when it is held."""
        await world.add(a_generator("a", resource_key=KEY), keyed("b"))
        await world.claim("lease 1")

        await world.store.apply([daily(world, await world.record("a"))])

        assert await world.seated() == set()
        await world.settle(await world.record("b"))
        assert await world.seated() == {occurrence_id("a", world.at(0))}

    async def test_an_occurrence_of_a_free_key_is_seated(self, world: World) -> None:
        """The atom that creates it gives it the seat."""
        await world.add(a_generator("a", resource_key=KEY))

        await world.store.apply([daily(world, await world.record("a"))])

        assert await world.seated() == {occurrence_id("a", world.at(0))}

    async def test_a_rule_that_cannot_be_evaluated_ends_its_generator(self, world: World) -> None:
        """The generator has failed, with the reason recorded."""
        await world.add(a_generator("a"))

        await world.store.apply([break_off(await world.record("a"), "no such zone", at=world.at(0))])

        raw = await world.raw("a")
        assert (raw.outcome, [error.error for error in raw.errors]) == (Outcome.FAILED, ["no such zone"])

    async def test_a_generator_that_is_reset_resumes_at_a_slot(self, world: World) -> None:
        """The new run begins at the slot that was decided, not at once."""
        await world.add(a_generator("a"))
        await world.store.apply([a_tick(await world.record("a"), then=None)])
        resume = Cursor(world.at(5 * DAY), 5)

        await world.verdict(reset(await world.record("a"), run_uid="second run", resume=resume))

        raw = await world.raw("a")
        assert (raw.wait_until, raw.order_at, raw.slots_used) == (world.at(5 * DAY), world.at(5 * DAY), 5)
        assert (raw.outcome, raw.recurrence is None) == (None, False)

    async def test_due_generators_are_found(self, world: World) -> None:
        """A worker finds what it has to tick by one filter."""
        await world.add(a_generator("a"), a_generator("b", wait_until=world.at(3600)), a_new_task("c"))

        assert await world.found(TaskFilter(generators=True, due=True)) == ["a"]
        await world.pass_time(HOUR)
        assert await world.found(TaskFilter(generators=True, due=True)) == ["a", "b"]
