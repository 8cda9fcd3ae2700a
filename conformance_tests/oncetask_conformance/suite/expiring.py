"""Expiring: the end of leases that ran out, which only the store's clock can tell."""

from datetime import timedelta

import msgspec
import pytest

from oncetask_conformance.factories import CLEANED_UP, HOUR, MINUTE, ONE_ATTEMPT, RETRIED, a_new_task
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.suite.seating import do_cancel
from oncetask_conformance.suite.settling import LOSSES
from oncetask_conformance.world import World
from oncetask_core.decisions import expire
from oncetask_core.query import TaskFilter
from oncetask_core.status import Outcome
from oncetask_core.transition import Verdict


class ExpiringTests:
    """What an expiry writes, and when it is refused."""

    @on_both_clocks
    async def test_a_lease_that_ran_out_is_ended(self, world: World) -> None:
        """Nobody holds the task any more, and it is due at once."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)

        assert await world.expire(task) is Verdict.APPLIED
        raw = await world.raw("a")
        assert (raw.lease_uid, raw.leased_by, raw.leased_until) == (None, None, None)
        assert await world.claimed_ids("another", suspects=True) == ["a"]

    @on_both_clocks
    async def test_the_crash_is_charged_and_recorded(self, world: World) -> None:
        """The attempt whose worker vanished has an error entry, and is a crash and not a failure."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        await world.expire(task)

        raw = await world.raw("a")
        assert (raw.crashes, raw.failures, raw.error_count, raw.claims) == (1, 0, 1, 1)
        assert [error.attempt for error in raw.errors] == [1]
        assert "worker 1" in raw.errors[0].error

    @on_both_clocks
    async def test_a_lease_that_has_not_run_out_is_not_ended(self, world: World) -> None:
        """Whoever decides too early is refused by the store's clock, and nothing changes."""
        task = await world.take()
        before = await world.raw("a")

        (answer,) = await world.submit(expire(task, RETRIED, at=await world.store.now(), chance=0.0))

        assert (answer.verdict, answer.task) == (Verdict.CHANGED, task)
        assert await world.raw("a") == before

    async def test_a_lease_runs_out_at_the_very_instant(self, world: World) -> None:
        """A lease until noon can be expired at noon, and not a microsecond before."""
        task = await world.take(lease_for=MINUTE)
        await world.pass_time(MINUTE - timedelta(microseconds=1))
        too_early = await world.expire(task)
        await world.pass_time(timedelta(microseconds=1))

        assert (too_early, await world.expire(task)) == (Verdict.CHANGED, Verdict.APPLIED)

    @on_both_clocks
    async def test_a_renewal_in_between_wins(self, world: World) -> None:
        """A lease that was seen to run out, and was renewed before the expiry, is not ended."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        await world.store.renew({"lease 1": HOUR})

        assert await world.expire(task) is Verdict.CHANGED
        assert (await world.raw("a")).lease_uid == "lease 1"

    @on_both_clocks
    async def test_a_lease_is_expired_once(self, world: World) -> None:
        """Of two workers that saw a lease run out one charges the crash."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)

        assert [await world.expire(task), await world.expire(task)] == [Verdict.APPLIED, Verdict.LEASE_LOST]
        assert (await world.raw("a")).crashes == 1

    @on_both_clocks
    async def test_an_expired_lease_is_not_a_settled_one(self, world: World) -> None:
        """The holder that comes too late is not told that its report was accepted."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        await world.expire(task)

        assert (await world.raw("a")).settled_by == ()
        assert await world.settle(task) is Verdict.LEASE_LOST

    @pytest.mark.parametrize("loss", LOSSES)
    async def test_an_expiry_of_an_earlier_lease_is_refused(self, world: World, loss: str) -> None:
        """A late expiry ends no lease but the one that it was decided on."""
        task = await world.take(lease_for=world.short)
        await LOSSES[loss](world, task)
        await world.pass_time(2 * HOUR)
        before = await world.raw("a")

        assert await world.expire(task) is Verdict.LEASE_LOST
        assert await world.raw("a") == before

    async def test_an_expiry_of_a_settled_lease_is_refused(self, world: World) -> None:
        """A lease that ended in time is not charged, and the expiry is nobody's earlier settle."""
        task = await world.take(lease_for=world.short)
        await world.settle(task)
        await world.pass_time(world.short)

        assert await world.expire(task) is Verdict.LEASE_LOST
        assert ((await world.raw("a")).outcome, (await world.raw("a")).crashes) == (Outcome.COMPLETED, 0)

    @on_both_clocks
    async def test_a_holder_settles_after_its_lease_ran_out(self, world: World) -> None:
        """Until somebody expires it a lease holds: no clock in anybody's hand ends it."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)

        assert await world.settle(task) is Verdict.APPLIED
        assert (await world.raw("a")).outcome is Outcome.COMPLETED

    @on_both_clocks
    async def test_the_crash_limit_ends_the_task(self, world: World) -> None:
        """A task that crashed too many workers has failed, whatever its retry policy says."""
        rules = msgspec.structs.replace(RETRIED, max_crashes=1)
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        await world.expire(task, rules)

        assert (await world.raw("a")).outcome is Outcome.FAILED

    @on_both_clocks
    async def test_a_crash_uses_up_an_attempt(self, world: World) -> None:
        """The retry policy is asked about a crash as about a failure."""
        task = await world.take(lease_for=world.short)
        await world.pass_time(world.short)
        await world.expire(task, ONE_ATTEMPT)

        assert (await world.raw("a")).outcome is Outcome.FAILED

    @on_both_clocks
    async def test_a_cancelled_task_goes_on_to_its_clean_up(self, world: World) -> None:
        """When the worker of a cancelled task vanishes, the clean-up is next."""
        await world.take(lease_for=world.short)
        await do_cancel(world, "a", has_cleanup=True)
        await world.pass_time(world.short)
        await world.expire(await world.record("a"), CLEANED_UP)

        (task,) = (await world.claim("another")).tasks
        assert task.in_cleanup

    @on_both_clocks
    async def test_a_cancelled_task_without_a_clean_up_ends(self, world: World) -> None:
        """When the worker of a cancelled task vanishes, nothing is left to do."""
        await world.take(lease_for=world.short)
        await do_cancel(world, "a")
        await world.pass_time(world.short)
        await world.expire(await world.record("a"))

        assert (await world.raw("a")).outcome is Outcome.CANCELLED

    async def test_a_crashed_clean_up_is_tried_again_by_its_own_policy(self, world: World) -> None:
        """The crash counts as a clean-up attempt, and the next waits for the clean-up's delay."""
        await world.add()
        await do_cancel(world, "a", has_cleanup=True)
        await world.crash("a", CLEANED_UP)

        raw = await world.raw("a")
        assert (raw.cleanup_attempts, raw.crashes, raw.outcome) == (1, 1, None)
        assert raw.wait_until == world.at(65)

    async def test_a_cancel_in_between_makes_an_expiry_stale(self, world: World) -> None:
        """Who decided that the task goes on has to decide again."""
        task = await world.take(lease_for=world.short)
        await do_cancel(world, "a")
        await world.pass_time(world.short)

        assert await world.expire(task) is Verdict.CHANGED
        assert await world.expire(await world.record("a")) is Verdict.APPLIED

    @on_both_clocks
    async def test_leases_that_ran_out_are_found(self, world: World) -> None:
        """A worker finds what it has to expire by one filter, and nothing else."""
        await world.add(a_new_task("a"), a_new_task("b", kind="letter"))
        await world.claim("lease 1", lease_for=world.short)
        await world.claim("lease 2", kinds=["letter"])
        await world.pass_time(world.short)

        assert await world.found(TaskFilter(run_out=True)) == ["a"]

    async def test_a_batch_of_leases_is_expired_at_once(self, world: World) -> None:
        """Each expiry of a batch stands for itself: what was renewed or settled stays."""
        await world.add(*(a_new_task(letter) for letter in "abc"))
        tasks = [(await world.claim(f"lease {n}", limit=1, lease_for=world.short)).tasks[0] for n in range(3)]
        await world.pass_time(world.short)
        await world.store.renew({"lease 1": HOUR})
        await world.settle(tasks[2])
        now = await world.store.now()

        answers = await world.submit(*(expire(task, RETRIED, at=now, chance=0.0) for task in tasks))

        assert [answer.verdict for answer in answers] == [
            Verdict.APPLIED,
            Verdict.CHANGED,
            Verdict.LEASE_LOST,
        ]
