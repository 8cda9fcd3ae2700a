"""Deleting: a task is removed as it was decided on, or not at all."""

import msgspec
import pytest

from oncetask_conformance.factories import HOUR, a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import State, reach
from oncetask_conformance.suite.seating import do_cancel, do_delete
from oncetask_conformance.world import World
from oncetask_core.decisions import Released, deletion, report_progress
from oncetask_core.transition import Verdict


class DeletingTests:
    """What `delete` removes and answers."""

    @pytest.mark.parametrize("state", State)
    async def test_a_task_in_any_state_is_deleted(self, world: World, state: State) -> None:
        """The record is gone from the storage, even if a worker holds it."""
        task = await reach(world, state, "a")
        await world.add(a_new_task("b"))

        assert list(await world.store.delete([deletion(task)])) == [Verdict.APPLIED]
        assert set(await world.everything()) == {"b"}

    async def test_an_unknown_task_is_missing(self, world: World) -> None:
        """A guard for an id that does not exist is answered so."""
        await world.add()
        guard = msgspec.structs.replace(deletion(await world.record("a")), id="b")

        assert list(await world.store.delete([guard])) == [Verdict.MISSING]
        assert set(await world.everything()) == {"a"}

    @on_both_clocks
    @pytest.mark.parametrize("change", ["claimed", "settled", "cancelled"])
    async def test_a_task_that_changed_meanwhile_stays(self, world: World, change: str) -> None:
        """Who decided on an earlier record has to decide again."""
        await world.add()
        guard = deletion(await world.record("a"))
        await _change(world, change)
        before = await world.raw("a")

        assert list(await world.store.delete([guard])) == [Verdict.CHANGED]
        assert await world.raw("a") == before

    async def test_progress_and_renewals_do_not_keep_a_task(self, world: World) -> None:
        """What makes no decision stale does not hinder a deletion."""
        task = await world.take()
        await world.verdict(report_progress(task, "1"))
        await world.store.renew({"lease 1": 2 * HOUR})

        assert list(await world.store.delete([deletion(task)])) == [Verdict.APPLIED]

    async def test_a_task_created_anew_is_not_deleted_by_an_old_guard(self, world: World) -> None:
        """An equal id at an equal revision is not the same task."""
        await world.add()
        guard = deletion(await world.record("a"))
        await do_delete(world, "a")
        await world.add(a_new_task("a", run_uid="second run"))

        assert (await world.raw("a")).revision == guard.revision
        assert list(await world.store.delete([guard])) == [Verdict.CHANGED]
        assert (await world.raw("a")).run_uid == "second run"

    async def test_a_task_is_deleted_once(self, world: World) -> None:
        """The same guard again finds nothing, in one call or in two."""
        await world.add()
        guard = deletion(await world.record("a"))

        assert list(await world.store.delete([guard, guard])) == [Verdict.APPLIED, Verdict.MISSING]
        assert list(await world.store.delete([guard])) == [Verdict.MISSING]

    async def test_verdicts_stand_in_the_order_of_the_guards(self, world: World) -> None:
        """Each guard is judged by itself; a refused one hinders no other."""
        await world.add(*(a_new_task(letter) for letter in "abc"))
        guards = [deletion(await world.record(letter)) for letter in "cba"]
        stale = msgspec.structs.replace(guards[1], revision=7)
        unknown = msgspec.structs.replace(guards[0], id="nobody")

        verdicts = await world.store.delete([guards[0], unknown, stale, guards[2]])

        assert list(verdicts) == [Verdict.APPLIED, Verdict.MISSING, Verdict.CHANGED, Verdict.APPLIED]
        assert set(await world.everything()) == {"b"}

    async def test_deleting_nothing_answers_nothing(self, world: World) -> None:
        """An empty call deletes nothing."""
        await world.add()

        assert list(await world.store.delete([])) == []
        assert set(await world.everything()) == {"a"}

    async def test_only_the_very_id_is_deleted(self, world: World) -> None:
        """Ids that merely look alike are left alone."""
        await world.add(*(a_new_task(task_id, run_uid="run") for task_id in ("a", "A", "a ", "á", "a%")))

        await do_delete(world, "a")

        assert set(await world.everything()) == {"A", "a ", "á", "a%"}

    async def test_the_id_is_free_afterwards(self, world: World) -> None:
        """A new task may be created under the id, with a run and history of its own."""
        await reach(world, State.COMPLETED, "a")
        await do_delete(world, "a")

        (answer,) = await world.add(a_new_task("a", run_uid="second run"))

        raw = await world.raw("a")
        assert (answer.created, raw.run_uid, raw.revision, raw.claims) == (True, "second run", 0, 0)

    async def test_a_new_task_under_an_old_id_comes_last(self, world: World) -> None:
        """Its place in the order of creation is that of its own creation."""
        await world.add(a_new_task("a"), a_new_task("b"))
        await do_delete(world, "a")
        await world.add(a_new_task("a"))

        tasks = await world.everything()
        assert tasks["a"].sequence > tasks["b"].sequence

    async def test_a_deleted_holder_can_do_nothing(self, world: World) -> None:
        """Its settle and its progress find no task, and its lease holds nothing."""
        task = await world.take()
        await do_delete(world, "a")

        assert await world.settle(task) is Verdict.MISSING
        assert await world.verdict(report_progress(task, "1")) is Verdict.MISSING
        assert list((await world.store.renew({"lease 1": HOUR})).held) == []

    async def test_many_tasks_are_deleted_by_one_call(self, world: World) -> None:
        """A thousand guards are judged in one call."""
        await world.add(*(a_new_task(f"task {number}") for number in range(1000)))
        guards = [deletion(task) for task in (await world.store.get([f"task {n}" for n in range(1000)])).tasks.values()]

        verdicts = await world.store.delete(guards)

        assert set(verdicts) == {Verdict.APPLIED}
        assert await world.everything() == {}

    async def test_a_wrong_run_deletes_nothing(self, world: World) -> None:
        """The run has to be right, whatever the revision is."""
        await world.add()
        guard = msgspec.structs.replace(deletion(await world.record("a")), run_uid="RUN OF A")

        assert list(await world.store.delete([guard])) == [Verdict.CHANGED]


async def _change(world: World, change: str) -> None:
    if change == "cancelled":
        await do_cancel(world, "a", has_cleanup=True)
        return
    (task,) = (await world.claim()).tasks
    if change == "settled":
        await world.settle(task, Released())
