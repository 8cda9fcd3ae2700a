"""Settling: what the holder's reports write, and whom the fence keeps out."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import msgspec
import pytest

from oncetask_conformance.factories import (
    CLEANED_UP,
    HOUR,
    ONE_ATTEMPT,
    RETRIED,
    SECOND,
    a_failure,
    a_new_task,
)
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.suite.seating import do_cancel, do_delete, do_reset
from oncetask_conformance.world import World
from oncetask_core.decisions import Released, Report, Snoozed, Success, report_progress, reset
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask
from oncetask_core.transition import Verdict

REPORTS: Mapping[str, Report] = {
    "success": Success('"done"'),
    "failure": a_failure(),
    "final failure": a_failure(final=True),
    "snooze": Snoozed(HOUR),
    "release": Released(),
}
_FOREVER = FixedDelayPolicy(delay=0, max_attempts=0)
Loss = Callable[[World, OnceTask[object]], Awaitable[None]]


async def _expired(world: World, task: OnceTask[object]) -> None:
    await world.pass_time(world.short)
    await world.expire(task)


async def _taken_over(world: World, task: OnceTask[object]) -> None:
    await _expired(world, task)
    await world.claim("another", suspects=True)


async def _finished_by_another(world: World, task: OnceTask[object]) -> None:
    await _expired(world, task)
    (again,) = (await world.claim("another", suspects=True)).tasks
    await world.settle(again)


async def _settled_and_reset(world: World, task: OnceTask[object]) -> None:
    await world.settle(task)
    await do_reset(world, task.id)


async def _reset_and_taken(world: World, task: OnceTask[object]) -> None:
    await _settled_and_reset(world, task)
    await world.claim("another")


async def _created_anew(world: World, task: OnceTask[object]) -> None:
    await do_delete(world, task.id)
    await world.add(a_new_task(task.id, run_uid="second run"))


async def _created_anew_and_taken(world: World, task: OnceTask[object]) -> None:
    await _created_anew(world, task)
    await world.claim("another")


async def _created_anew_and_taken_by_its_lease(world: World, task: OnceTask[object]) -> None:
    await _created_anew(world, task)
    await world.claim("lease 1")


async def _expired_and_taken_by_its_lease(world: World, task: OnceTask[object]) -> None:
    await _expired(world, task)
    await world.claim("lease 1", suspects=True)


LOSSES: Mapping[str, Loss] = {
    "expired": _expired,
    "expired and taken over": _taken_over,
    "expired and finished by another": _finished_by_another,
    "expired and taken again by the same lease": _expired_and_taken_by_its_lease,
    "settled and reset": _settled_and_reset,
    "settled, reset and taken": _reset_and_taken,
    "deleted and created anew": _created_anew,
    "deleted, created anew and taken": _created_anew_and_taken,
    "deleted, created anew and taken by the same lease": _created_anew_and_taken_by_its_lease,
}


class SettlingTests:
    """What each report of a holder writes."""

    @on_both_clocks
    async def test_a_success_completes_the_task(self, world: World) -> None:
        """The outcome, the result and the store's time lie in the storage."""
        task = await world.take()

        assert await world.settle(task, Success('{"signed":true}')) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.outcome, raw.result) == (Outcome.COMPLETED, '{"signed":true}')
        assert raw.done_at is not None
        assert task.started_at is not None
        assert task.started_at <= raw.done_at <= await world.store.now()

    @on_both_clocks
    @pytest.mark.parametrize("report", REPORTS)
    async def test_every_report_ends_the_lease(self, world: World, report: str) -> None:
        """Afterwards nobody holds the task, and the settled lease is remembered."""
        task = await world.take(lease_uid="lease 7")

        await world.settle(task, REPORTS[report])

        raw = await world.raw("a")
        assert (raw.lease_uid, raw.leased_by, raw.leased_until) == (None, None, None)
        assert raw.settled_by == ("lease 7",)

    @pytest.mark.parametrize("report", REPORTS)
    async def test_every_report_makes_earlier_decisions_stale(self, world: World, report: str) -> None:
        """A settle counts a revision."""
        task = await world.take()

        await world.settle(task, REPORTS[report])

        assert (await world.raw("a")).revision == task.revision + 1

    @on_both_clocks
    async def test_a_failure_waits_for_its_retry(self, world: World) -> None:
        """The failure is recorded, and the next attempt lies one delay ahead of the store's clock."""
        task = await world.take(a_new_task("a", priority=2))
        before = await world.store.now()
        await world.settle(task, a_failure("no such street"))
        after = await world.store.now()

        raw = await world.raw("a")
        assert before + 10 * SECOND <= raw.wait_until <= after + 10 * SECOND
        assert raw.order_at == raw.wait_until - timedelta(minutes=2)
        assert (raw.failures, raw.outcome, raw.error_count) == (1, None, 1)
        assert [(error.error, error.attempt) for error in raw.errors] == [("no such street", 1)]

    @on_both_clocks
    async def test_a_failure_without_another_attempt_ends_the_task(self, world: World) -> None:
        """When the attempts are used up the task has failed."""
        task = await world.take()

        await world.settle(task, a_failure(), ONE_ATTEMPT)

        raw = await world.raw("a")
        assert (raw.outcome, raw.failures, raw.result) == (Outcome.FAILED, 1, None)
        assert raw.done_at is not None

    @on_both_clocks
    @pytest.mark.parametrize("report", ["snooze", "release"])
    async def test_giving_a_task_back_charges_nothing(self, world: World, report: str) -> None:
        """Neither a failure nor an error is recorded, and only the claim stays counted."""
        task = await world.take()

        await world.settle(task, REPORTS[report])

        raw = await world.raw("a")
        assert (raw.failures, raw.crashes, raw.error_count, raw.outcome, raw.claims) == (0, 0, 0, None, 1)

    async def test_a_released_task_keeps_its_time(self, world: World) -> None:
        """A release puts the task where it was in the order."""
        await world.add(a_new_task("a", wait_until=world.at(-30)))
        before = await world.raw("a")
        (task,) = (await world.claim()).tasks
        await world.pass_time(SECOND)

        await world.settle(task, Released())

        after = await world.raw("a")
        assert (after.wait_until, after.order_at) == (before.wait_until, before.order_at)

    @on_both_clocks
    async def test_a_snoozed_task_waits(self, world: World) -> None:
        """A snooze counts from the store's clock at the settle."""
        task = await world.take()
        before = await world.store.now()
        await world.settle(task, Snoozed(HOUR))

        assert before + HOUR <= (await world.raw("a")).wait_until <= await world.store.now() + HOUR

    @on_both_clocks
    async def test_three_failures_use_up_three_attempts(self, world: World) -> None:
        """Every attempt's error is kept with its number, and the last failure ends the task."""
        await world.add()
        for attempt in range(3):
            (task,) = (await world.claim(f"lease {attempt}")).tasks
            await world.settle(task, a_failure(f"failure {attempt}", delay=0 * SECOND), RETRIED)

        raw = await world.raw("a")
        assert (raw.outcome, raw.failures, raw.claims) == (Outcome.FAILED, 3, 3)
        assert [error.attempt for error in raw.errors] == [1, 2, 3]

    async def test_of_many_errors_the_first_and_the_latest_are_kept(self, world: World) -> None:
        """The history is bounded, and the count is not."""
        await world.add()
        for attempt in range(14):
            (task,) = (await world.claim(f"lease {attempt}")).tasks
            rules = msgspec.structs.replace(RETRIED, retry_policy=_FOREVER)
            await world.settle(task, a_failure(f"failure {attempt}"), rules)

        raw = await world.raw("a")
        assert [error.error for error in raw.errors] == ["failure 0", *(f"failure {n}" for n in range(5, 14))]
        assert raw.error_count == 14

    async def test_the_last_eight_settlements_are_remembered(self, world: World) -> None:
        """The memory of accepted leases is bounded."""
        await world.add()
        for number in range(10):
            (task,) = (await world.claim(f"lease {number}")).tasks
            await world.settle(task, Released())

        assert (await world.raw("a")).settled_by == tuple(f"lease {number}" for number in range(2, 10))

    @on_both_clocks
    async def test_progress_is_written_under_the_lease(self, world: World) -> None:
        """Progress is stored, and neither the lease nor the revision moves."""
        task = await world.take()

        assert await world.verdict(report_progress(task, '{"done":3}')) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.progress, raw.revision, raw.lease_uid) == ('{"done":3}', task.revision, "lease 1")

    async def test_progress_makes_no_decision_stale(self, world: World) -> None:
        """A holder that reported progress settles with the record it was given."""
        task = await world.take()
        await world.verdict(report_progress(task, "1"))

        assert await world.settle(task) is Verdict.APPLIED

    async def test_progress_is_taken_after_a_cancel(self, world: World) -> None:
        """Progress is guarded by the lease alone."""
        task = await world.take()
        await do_cancel(world, "a")

        assert await world.verdict(report_progress(task, "1")) is Verdict.APPLIED

    async def test_a_settle_leaves_what_it_does_not_name(self, world: World) -> None:
        """What the creator decided is untouched by an end."""
        new = a_new_task("a", priority=4, queue="slow", headers={"a": "b"}, resource_key="van-1")
        task = await world.take(new)
        await world.settle(task)

        raw = await world.raw("a")
        kept = (raw.kind, raw.payload, raw.run_uid, raw.created_by, raw.priority, raw.queue, raw.resource_key)
        assert kept == (new.kind, new.payload, new.run_uid, new.created_by, 4, "slow", "van-1")
        assert raw.headers == {"a": "b"}


class CancelledRunsTests:
    """Settling a task that was cancelled meanwhile."""

    @on_both_clocks
    @pytest.mark.parametrize("report", REPORTS)
    async def test_without_a_clean_up_the_task_ends_cancelled(self, world: World, report: str) -> None:
        """Whatever the run reports, a cancelled task is not run again."""
        await world.take()
        await do_cancel(world, "a")

        assert await world.settle(await world.record("a"), REPORTS[report]) is Verdict.APPLIED
        assert (await world.raw("a")).outcome is Outcome.CANCELLED

    @on_both_clocks
    @pytest.mark.parametrize("report", REPORTS)
    async def test_with_a_clean_up_the_task_is_due_for_it(self, world: World, report: str) -> None:
        """After the run the clean-up handler is next, at once."""
        await world.take()
        await do_cancel(world, "a", has_cleanup=True)

        await world.settle(await world.record("a"), REPORTS[report], CLEANED_UP)

        (task,) = (await world.claim("lease 2")).tasks
        assert (task.in_cleanup, task.outcome) == (True, None)

    async def test_the_result_of_a_cancelled_run_is_kept(self, world: World) -> None:
        """A handler that finished before it was told to stop has its value stored, clean-up or not."""
        await world.take()
        await do_cancel(world, "a", has_cleanup=True)
        await world.settle(await world.record("a"), Success('"done"'), CLEANED_UP)
        (cleaning,) = (await world.claim("lease 2")).tasks
        await world.settle(cleaning, Success('"cleaned"'), CLEANED_UP)

        raw = await world.raw("a")
        assert (raw.outcome, raw.result) == (Outcome.CANCELLED, '"done"')

    async def test_a_decision_made_before_the_cancel_is_refused(self, world: World) -> None:
        """The holder is shown the record as it is now, and decides again."""
        task = await world.take()
        await do_cancel(world, "a")

        (answer,) = await world.submit(world.conclusion(task))

        assert answer.verdict is Verdict.CHANGED
        assert answer.task is not None
        assert answer.task.is_cancelled
        assert (await world.raw("a")).outcome is None

    async def test_a_failed_clean_up_is_tried_again_by_its_own_policy(self, world: World) -> None:
        """Clean-up attempts have a counter of their own and leave those of the handler alone."""
        await world.add()
        await do_cancel(world, "a", has_cleanup=True)
        (task,) = (await world.claim()).tasks
        await world.settle(task, a_failure(), CLEANED_UP)

        raw = await world.raw("a")
        assert (raw.cleanup_attempts, raw.failures, raw.outcome) == (1, 0, None)
        assert raw.wait_until == world.at(5)

    async def test_the_last_failed_clean_up_ends_the_task_cancelled(self, world: World) -> None:
        """A clean-up that never succeeds does not keep the task for ever."""
        await world.add()
        await do_cancel(world, "a", has_cleanup=True)
        for number in range(2):
            (task,) = (await world.claim(f"lease {number}")).tasks
            await world.settle(task, a_failure(delay=0 * SECOND), CLEANED_UP)

        assert (await world.raw("a")).outcome is Outcome.CANCELLED


class FencingTests:
    """Whom the guard of a holder keeps out."""

    @on_both_clocks
    @pytest.mark.parametrize("loss", LOSSES)
    async def test_a_superseded_holder_changes_nothing(self, world: World, loss: str) -> None:
        """After its lease was lost, every report of a holder is refused and leaves the task as it is."""
        task = await world.take(lease_for=world.short)
        await LOSSES[loss](world, task)
        before = await world.raw("a")

        answers = await world.submit(*(world.conclusion(task, report) for report in REPORTS.values()))

        assert {answer.verdict for answer in answers} == {Verdict.LEASE_LOST}
        assert await world.raw("a") == before

    @pytest.mark.parametrize("loss", LOSSES)
    async def test_a_superseded_holder_reports_no_progress(self, world: World, loss: str) -> None:
        """Progress of a lost lease is refused as well."""
        task = await world.take(lease_for=world.short)
        await LOSSES[loss](world, task)
        before = await world.raw("a")

        assert await world.verdict(report_progress(task, "99")) is Verdict.LEASE_LOST
        assert await world.raw("a") == before

    async def test_a_refusal_shows_the_record_as_it_is(self, world: World) -> None:
        """Whoever is refused learns what the task looks like now."""
        task = await world.take(lease_for=world.short)
        await _taken_over(world, task)

        (answer,) = await world.submit(world.conclusion(task))

        assert answer.task == await world.record("a")

    async def test_a_deleted_task_is_missing(self, world: World) -> None:
        """A settle for a task that was deleted is answered so, and creates nothing."""
        task = await world.take()
        await do_delete(world, "a")

        (answer,) = await world.submit(world.conclusion(task))

        assert (answer.verdict, answer.task) == (Verdict.MISSING, None)
        assert await world.everything() == {}

    async def test_equal_attempts_do_not_make_equal_holders(self, world: World) -> None:
        """Two holders in the same attempt, after a release, are told apart by their leases."""
        old = await world.take()
        await world.settle(old, Released())
        (new,) = (await world.claim("another")).tasks
        late = msgspec.structs.replace(world.conclusion(new), guard=world.conclusion(old).guard)

        assert old.attempts == new.attempts
        assert await world.verdict(late) is Verdict.ALREADY
        assert (await world.raw("a")).lease_uid == "another"

    async def test_equal_attempts_after_deletion_do_not_make_equal_holders(self, world: World) -> None:
        """The first attempt of a new task is not the first attempt of the old one."""
        old = await world.take()
        await _created_anew_and_taken(world, old)
        new = await world.record("a")

        assert (old.attempts, old.claims, old.revision) == (new.attempts, new.claims, new.revision)
        assert await world.settle(old) is Verdict.LEASE_LOST
        assert await world.settle(new) is Verdict.APPLIED

    async def test_a_lease_that_is_granted_twice_is_two_grants(self, world: World) -> None:
        """A claim that was given up may arrive late; what its first grant reported is not written again."""
        old = await world.take()
        await world.settle(old, a_failure(delay=0 * SECOND))
        (new,) = (await world.claim("lease 1")).tasks
        repeated = msgspec.structs.replace(world.conclusion(new).guard, epoch=old.epoch)

        again = msgspec.structs.replace(world.conclusion(new), guard=repeated)

        assert await world.verdict(again) is Verdict.ALREADY
        assert (await world.raw("a")).lease_uid == "lease 1"
        assert await world.settle(new) is Verdict.APPLIED

    @pytest.mark.parametrize("field", ["run_uid", "lease_uid"])
    async def test_a_guard_with_a_wrong_name_is_refused(self, world: World, field: str) -> None:
        """The run and the lease have both to be right."""
        task = await world.take()
        transition = world.conclusion(task)
        wrong = msgspec.structs.replace(transition.guard, **{field: "wrong"})

        verdict = await world.verdict(msgspec.structs.replace(transition, guard=wrong))

        assert verdict is Verdict.LEASE_LOST
        assert (await world.raw("a")).lease_uid == "lease 1"

    async def test_names_in_guards_are_compared_byte_by_byte(self, world: World) -> None:
        """A lease that differs by case only is another lease."""
        task = await world.take(lease_uid="lease a")
        transition = world.conclusion(task)
        wrong = msgspec.structs.replace(transition.guard, lease_uid="Lease A")

        assert await world.verdict(msgspec.structs.replace(transition, guard=wrong)) is Verdict.LEASE_LOST


class RepeatedSettlesTests:
    """The same settle again, after a reply was lost."""

    @on_both_clocks
    @pytest.mark.parametrize("report", REPORTS)
    async def test_a_repeated_settle_is_recognised(self, world: World, report: str) -> None:
        """The second time the holder is told that it was done, and nothing changes."""
        task = await world.take()
        await world.settle(task, REPORTS[report])
        before = await world.raw("a")

        (answer,) = await world.submit(world.conclusion(task, REPORTS[report]))

        assert answer.verdict is Verdict.ALREADY
        assert await world.raw("a") == before

    async def test_a_settle_is_recognised_after_others_went_on(self, world: World) -> None:
        """A holder that gave the task back is recognised while the next one runs it."""
        old = await world.take()
        await world.settle(old, Released())
        await world.claim("another")

        assert await world.settle(old, Released()) is Verdict.ALREADY
        assert (await world.raw("a")).lease_uid == "another"

    async def test_a_settle_is_not_recognised_in_the_next_run(self, world: World) -> None:
        """A reset forgets who settled the run before."""
        old = await world.take()
        await world.settle(old)
        await world.verdict(reset(await world.record("a"), run_uid="second run"))

        assert await world.settle(old) is Verdict.LEASE_LOST

    async def test_a_completed_result_is_not_replaced(self, world: World) -> None:
        """The first settle decides; another report of the same lease is taken for a repeat."""
        task = await world.take()
        await world.settle(task, Success('"first"'))

        assert await world.settle(task, Success('"second"')) is Verdict.ALREADY
        assert (await world.raw("a")).result == '"first"'
