"""Decisions of those who hold nothing: cancel, reset and reschedule, each guarded by what it was made on."""

import pytest

from oncetask_conformance.factories import CLEANED_UP, HOUR, MINUTE, a_failure, a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import FINISHED, HELD, State, only, reach
from oncetask_conformance.suite.inserting import EMPTY
from oncetask_conformance.suite.seating import do_cancel, do_delete, do_reset
from oncetask_conformance.world import World
from oncetask_core.decisions import Released, cancel, report_progress, reschedule, reset
from oncetask_core.status import Outcome, TaskStatus
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Transition, Verdict

UNHELD = tuple(state for state in State if state not in (*HELD, *FINISHED, State.CANCELLING))
RESCHEDULABLE = tuple(state for state in UNHELD if state is not State.GENERATOR)


def a_cancel(task: OnceTask[object], *, has_cleanup: bool = False) -> Transition:
    """Return the cancellation of a task that can be cancelled."""
    transition = cancel(task, has_cleanup=has_cleanup)
    assert transition is not None
    return transition


class CancellingTests:
    """What a cancel writes."""

    @pytest.mark.parametrize("state", UNHELD)
    async def test_without_a_clean_up_an_unheld_task_ends_at_once(self, world: World, state: State) -> None:
        """A task that nobody runs is cancelled by the cancel itself."""
        task = await reach(world, state, "a")

        assert await world.verdict(a_cancel(task)) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.is_cancelled, raw.outcome, raw.head_key) == (True, Outcome.CANCELLED, None)
        assert raw.cancelled_at == raw.done_at is not None

    @pytest.mark.parametrize("state", RESCHEDULABLE)
    async def test_with_a_clean_up_an_unheld_task_is_due_for_it(self, world: World, state: State) -> None:
        """Whatever it waited for, its clean-up comes now."""
        task = await reach(world, state, "a")

        await world.verdict(a_cancel(task, has_cleanup=True))

        raw = await world.raw("a")
        assert (raw.is_cancelled, raw.outcome) == (True, None)
        assert raw.wait_until <= await world.store.now()
        assert (await world.record("a")).status(await world.store.now()) is TaskStatus.CANCELLATION_PENDING

    @on_both_clocks
    async def test_a_held_task_is_only_marked(self, world: World) -> None:
        """The holder keeps its lease and decides about the end."""
        task = await reach(world, State.LEASED, "a")
        before = await world.raw("a")

        await world.verdict(a_cancel(task))

        after = await world.raw("a")
        assert (after.is_cancelled, after.outcome) == (True, None)
        assert (after.lease_uid, after.leased_until, after.epoch) == (
            before.lease_uid,
            before.leased_until,
            before.epoch,
        )

    @on_both_clocks
    async def test_the_time_of_a_cancel_is_the_stores(self, world: World) -> None:
        """`cancelled_at` is the store's time at the write."""
        await world.add()
        before = await world.store.now()
        await do_cancel(world, "a")

        cancelled_at = (await world.raw("a")).cancelled_at
        assert cancelled_at is not None
        assert before <= cancelled_at <= await world.store.now()

    async def test_a_cancel_decided_before_a_claim_is_refused(self, world: World) -> None:
        """Who decided that nobody holds the task has to decide again."""
        await world.add()
        decided = a_cancel(await world.record("a"))
        await world.claim()
        before = await world.raw("a")

        (answer,) = await world.submit(decided)

        assert (answer.verdict, answer.task) == (Verdict.CHANGED, await world.record("a"))
        assert await world.raw("a") == before

    async def test_a_cancel_decided_before_the_end_is_refused(self, world: World) -> None:
        """A completed task does not turn into a cancelled one."""
        task = await world.take()
        decided = a_cancel(task)
        await world.settle(task)

        assert await world.verdict(decided) is Verdict.CHANGED
        assert (await world.raw("a")).outcome is Outcome.COMPLETED

    async def test_of_two_equal_cancels_the_first_is_applied(self, world: World) -> None:
        """Both were decided on the same record; the second finds it changed."""
        await world.add()
        decided = a_cancel(await world.record("a"))

        assert [answer.verdict for answer in await world.submit(decided, decided)] == [
            Verdict.APPLIED,
            Verdict.CHANGED,
        ]

    async def test_after_a_cancel_nothing_is_claimed_for_the_handler(self, world: World) -> None:
        """What is granted to a cancelled task is its clean-up alone, whatever the clean-up reports."""
        await world.add()
        await do_cancel(world, "a", has_cleanup=True)

        phases = []
        for number in range(2):
            (task,) = (await world.claim(f"lease {number}")).tasks
            phases.append(task.in_cleanup)
            await world.settle(task, Released(), CLEANED_UP)

        assert phases == [True, True]

    async def test_progress_and_renewals_make_no_cancel_stale(self, world: World) -> None:
        """A task can be cancelled however busy its holder is."""
        task = await world.take()
        decided = a_cancel(task)
        await world.verdict(report_progress(task, "1"))
        await world.store.renew({"lease 1": 2 * HOUR})

        assert await world.verdict(decided) is Verdict.APPLIED


class ResettingTests:
    """What a reset writes."""

    @pytest.mark.parametrize("state", FINISHED)
    async def test_a_finished_task_begins_a_new_run(self, world: World, state: State) -> None:
        """It is due at once, under a new identity, and is claimed again."""
        task = await reach(world, state, "a")

        assert await world.verdict(reset(task, run_uid="second run")) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.run_uid, raw.outcome, raw.wait_until <= await world.store.now()) == (
            "second run",
            None,
            True,
        )
        assert [task.id for task in (await world.store.claim(only("a", lease_uid="lease 2"))).tasks] == ["a"]

    @pytest.mark.parametrize(
        "field",
        sorted(set(EMPTY) - {"head_key", "epoch", "revision", "recurrence", "leased_until", "leased_by"}),
    )
    async def test_a_new_run_has_no_history(self, world: World, field: str) -> None:
        """What happened in the run before is gone."""
        await world.add()
        await world.crash("a")
        (task,) = (await world.claim("lease 2", suspects=True)).tasks
        await world.verdict(report_progress(task, "1"))
        await do_cancel(world, "a", has_cleanup=True)
        await world.settle(await world.record("a"), rules=CLEANED_UP)
        await world.crash("a", CLEANED_UP)
        await world.pass_time(MINUTE)
        (cleaning,) = (await world.claim("lease 3", suspects=True)).tasks
        await world.settle(cleaning, a_failure(final=True), CLEANED_UP)
        await do_reset(world, "a")

        assert getattr(await world.raw("a"), field) == EMPTY[field]

    async def test_what_the_creator_decided_stays(self, world: World) -> None:
        """Payload, key, priority and creation survive a reset."""
        await world.settle(await world.take(a_new_task("a", resource_key="van-1", priority=3, queue="slow")))
        before = await world.raw("a")

        await do_reset(world, "a")

        after = await world.raw("a")
        for field in (
            "payload",
            "kind",
            "created_by",
            "created_at",
            "sequence",
            "resource_key",
            "priority",
            "queue",
        ):
            assert getattr(after, field) == getattr(before, field)
        assert after.order_at == after.wait_until - 3 * MINUTE

    async def test_of_two_equal_resets_the_first_is_applied(self, world: World) -> None:
        """A task that was reset and runs again is not reset once more by a late decision."""
        await world.settle(await world.take())
        decided = reset(await world.record("a"), run_uid="second run")
        await world.verdict(decided)
        await world.claim("lease 2")

        assert await world.verdict(decided) is Verdict.CHANGED
        assert (await world.raw("a")).lease_uid == "lease 2"


class ReschedulingTests:
    """What a reschedule writes."""

    @pytest.mark.parametrize("state", RESCHEDULABLE)
    async def test_an_unheld_task_is_moved(self, world: World, state: State) -> None:
        """It is due at the time that was given, and keeps its priority there."""
        task = await reach(world, state, "a")
        when = world.at(9000)

        assert await world.verdict(reschedule(task, when)) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.wait_until, raw.order_at) == (when, when - task.priority * MINUTE)

    @on_both_clocks
    async def test_a_task_is_brought_forward_to_now(self, world: World) -> None:
        """A time relative to the store's clock is resolved by the store."""
        await world.add(a_new_task("a", wait_until=StoreNow(HOUR)))

        await world.verdict(reschedule(await world.record("a"), StoreNow()))

        assert await world.claimed_ids() == ["a"]

    async def test_a_reschedule_decided_before_a_claim_is_refused(self, world: World) -> None:
        """A task that is held by now is not moved."""
        await world.add()
        decided = reschedule(await world.record("a"), StoreNow(HOUR))
        await world.claim()

        assert await world.verdict(decided) is Verdict.CHANGED

    async def test_a_move_counts_a_revision(self, world: World) -> None:
        """Of two moves decided on the same record the first is applied."""
        await world.add()
        task = await world.record("a")

        first = await world.verdict(reschedule(task, world.at(100)))
        second = await world.verdict(reschedule(task, world.at(200)))

        assert (first, second) == (Verdict.APPLIED, Verdict.CHANGED)
        assert (await world.raw("a")).wait_until == world.at(100)


class StaleDecisionsTests:
    """Decisions about a task that is no longer the one they were made on."""

    @pytest.mark.parametrize("what", ["cancel", "reschedule", "reset"])
    async def test_a_decision_about_a_deleted_task_finds_nothing(self, world: World, what: str) -> None:
        """The verdict says that the task is gone."""
        decided = await _decided(world, what)
        await do_delete(world, "a")

        (answer,) = await world.submit(decided)

        assert (answer.verdict, answer.task) == (Verdict.MISSING, None)

    @pytest.mark.parametrize("what", ["cancel", "reschedule", "reset"])
    async def test_a_decision_about_a_task_created_anew_is_refused(self, world: World, what: str) -> None:
        """An equal id at an equal revision is not the same task."""
        decided = await _decided(world, what)
        await do_delete(world, "a")
        await world.add(a_new_task("a", run_uid="second run"))
        if what == "reset":
            await world.settle((await world.claim("another")).tasks[0])
        before = await world.raw("a")

        assert before.revision == decided.guard.revision
        assert await world.verdict(decided) is Verdict.CHANGED
        assert await world.raw("a") == before


async def _decided(world: World, what: str) -> Transition:
    await world.add()
    if what == "reset":
        await world.settle((await world.claim()).tasks[0])
        return reset(await world.record("a"), run_uid="another run")
    task = await world.record("a")
    return a_cancel(task) if what == "cancel" else reschedule(task, StoreNow(HOUR))
