"""Connections that are cut just before a commit, and just after it: whoever asks again learns what became of it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TypeVar

import pytest

from oncetask import OnceTask, TaskManager
from oncetask_core.creating import insert
from oncetask_core.decisions import Uids, cancel, deletion, expire, report_progress, reschedule, reset, tick
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.recurrence import Cursor, Due, Recurrence
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Atom, Verdict
from oncetask_core.worker.settings import Seams
from tests.asynchronous import asynchronous
from tests.servers.cutting import Cut, Scissors
from tests.servers.world import Place, ServerStore, rows
from tests.sql.world import HOUR, RULES, a_claim, new_task, settlement
from tests.worker.world import Job, Keyed

TIMES = 20
ENOUGH = 60.0
T = TypeVar("T")
LAST = datetime(2100, 1, 1, tzinfo=UTC)


@contextlib.asynccontextmanager
async def a_store(place: Place) -> AsyncIterator[tuple[ServerStore, Scissors]]:
    """Yield a store behind scissors."""
    scissors = Scissors()
    async with place.opened_behind(scissors) as store:
        yield store, scissors


async def twice(scissors: Scissors, cut: Cut, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, be cut off, and ask again."""
    scissors.arm(cut)
    with pytest.raises(StoreUnavailableError):
        await ask()
    return await ask()


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_an_insert_is_recognised_by_its_creator(cut: Cut, place: Place) -> None:
    """What exists already was created by the very call that lost its reply; keyed tasks have their seats."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            tasks = [new_task(f"a {number:02}"), new_task(f"b {number:02}", key=str(number))]
            answers = await twice(scissors, cut, partial(store.insert, tasks))
            assert [answer.created for answer in answers] == [cut is Cut.BEFORE] * 2
            assert [answer.created_by for answer in answers] == [task.created_by for task in tasks]
            scissors.arm(cut)
            own = await insert(store, [new_task(f"c {number:02}")], seams=Seams(chance=lambda: 0.99))
            assert own[0].created

    assert scissors.cuts == 2 * TIMES
    assert [head for (head,) in rows(place, "head_key")][TIMES : 2 * TIMES] == [str(number) for number in range(TIMES)]
    assert len(rows(place, "id")) == 3 * TIMES


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_claim_is_repeated_with_its_lease(cut: Cut, group: int, place: Place) -> None:
    """The second request is granted the same tasks, and nothing is leased twice."""
    async with a_store(place) as (store, scissors):
        await store.insert([new_task(f"t{n:03}", key=str(n % TIMES)) for n in range(TIMES * 4)])
        for number in range(TIMES):
            asked = a_claim(f"lease {number}", limit=1, group=group)
            claimed = await twice(scissors, cut, partial(store.claim, asked))
            again = await store.claim(asked)
            assert len(claimed.tasks) == group
            assert [task.epoch for task in again.tasks] == [task.epoch for task in claimed.tasks]

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "claims")) == {(1,): TIMES * group, (0,): TIMES * (4 - group)}


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_row_that_cannot_be_read_holds_up_nobody(cut: Cut, spare: int, place: Place) -> None:
    """Wherever the claim that met it was cut, its repeat says which it is and the next of the key can be claimed."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            await store.insert([new_task(f"{number} a", key=str(number)), new_task(f"{number} b", key=str(number))])
            place.run(f"UPDATE oncetask_task SET errors = '[{{' WHERE id = '{number} a'")
            asked = a_claim(f"lease {number}", limit=1)
            scissors.arm(cut, spare=spare)
            with pytest.raises(StoreUnavailableError):
                await store.claim(asked)
            first = await store.claim(asked)
            second = await store.claim(a_claim(f"another lease {number}", limit=1))
            assert [task.id for task in (*first.tasks, *second.tasks)] == [f"{number} b"]

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "right(id, 1), quarantined IS NOT NULL, lease_uid IS NOT NULL")) == {
        ("a", True, False): TIMES,
        ("b", False, True): TIMES,
    }


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_settle_was_applied_already_or_is_now(cut: Cut, place: Place) -> None:
    """Nobody is settled twice, and the next of each key has its seat."""
    async with a_store(place) as (store, scissors):
        await store.insert([new_task(f"t{n:03}", key=str(n % TIMES)) for n in range(TIMES * 2)])
        for number in range(TIMES):
            (task,) = (await store.claim(a_claim(f"lease {number}", limit=1))).tasks
            (answer,) = await twice(scissors, cut, partial(store.apply, [settlement(task)]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.ALREADY)

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "outcome, revision, head_key IS NOT NULL")) == {
        ("completed", 2, False): TIMES,
        (None, 0, True): TIMES,
    }


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_cancellation_and_a_reset_show_in_the_record(cut: Cut, place: Place) -> None:
    """Whoever decides again finds it done, or does it."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            await store.insert([new_task(str(number), key="k")])
            task = (await store.get([str(number)])).tasks[str(number)]
            ending = cancel(task, has_cleanup=False)
            assert ending is not None
            (answer,) = await twice(scissors, cut, partial(store.apply, [Atom((ending,))]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.CHANGED)
            ended = (await store.get([task.id])).tasks[task.id]
            assert (ended.is_cancelled, ended.revision) == (True, 1)
            (answer,) = await twice(scissors, cut, partial(store.apply, [Atom((reset(ended, run_uid="2"),))]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.CHANGED)

    assert scissors.cuts == 2 * TIMES
    assert Counter(rows(place, "outcome, run_uid, revision")) == {(None, "2", 2): TIMES}
    assert sum(1 for (head,) in rows(place, "head_key") if head == "k") == 1


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_an_expiry_charges_one_crash(cut: Cut, place: Place) -> None:
    """Whoever expires again finds it done; the key is free."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            await store.insert([new_task(str(number), key=str(number))])
            (task,) = (await store.claim(a_claim(f"lease {number}"))).tasks
            place.run(f"UPDATE oncetask_task SET leased_until = 0 WHERE id = '{task.id}'")
            atom = Atom((expire(task, RULES, at=await store.now(), chance=0.0),))
            (answer,) = await twice(scissors, cut, partial(store.apply, [atom]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.LEASE_LOST)

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "crashes, revision, lease_uid IS NULL, head_key IS NOT NULL")) == {
        (1, 2, True, True): TIMES
    }


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_new_time_and_a_progress_are_written(cut: Cut, place: Place) -> None:
    """The one shows in the record when it is asked for again, the other is written again."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            await store.insert([new_task(f"{number} a"), new_task(f"{number} b")])
            later = reschedule((await store.get([f"{number} a"])).tasks[f"{number} a"], StoreNow(HOUR))
            (answer,) = await twice(scissors, cut, partial(store.apply, [Atom((later,))]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.CHANGED)
            (task,) = (await store.claim(a_claim(f"lease {number}"))).tasks
            progress = report_progress(task, str(number))
            (answer,) = await twice(scissors, cut, partial(store.apply, [Atom((progress,))]))
            assert answer.verdict is Verdict.APPLIED

    assert scissors.cuts == 2 * TIMES
    assert Counter(rows(place, "right(id, 1), revision, progress IS NOT NULL")) == {
        ("a", 1, False): TIMES,
        ("b", 1, True): TIMES,
    }


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_tick_and_its_occurrences_come_together_or_not_at_all(cut: Cut, place: Place) -> None:
    """A generator whose tick lost its reply has moved, and each occurrence exists once."""
    async with a_store(place) as (store, scissors):
        rule = Recurrence(rrule="FREQ=DAILY", dtstart=LAST)
        new = NewTask(
            id="g", kind="parcel", payload="{}", run_uid="1", created_by="g", resource_key="k", recurrence=rule
        )
        await store.insert([new])
        for number in range(TIMES):
            generator = (await store.get(["g"])).tasks["g"]
            slots = [LAST + timedelta(days=10 * number + day) for day in range(3)]
            due = Due(fire=(slots[0], slots[1]), next=Cursor(slot=slots[2], used=number + 1))
            atom = tick(generator, due, Uids(created_by="tick", run_uids=("1", "2")))
            (answer,) = await twice(scissors, cut, partial(store.apply, [atom]))
            assert answer.verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.CHANGED)

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "recurrence IS NULL, revision, slots_used")) == {
        (True, 0, 0): 2 * TIMES,
        (False, TIMES, TIMES): 1,
    }
    assert sum(1 for (head,) in rows(place, "head_key") if head == "k") == 1


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_renewal_is_repeated(cut: Cut, place: Place) -> None:
    """The lease is held and extended."""
    async with a_store(place) as (store, scissors):
        await store.insert([new_task("a")])
        await store.claim(a_claim("lease"))
        for number in range(1, TIMES + 1):
            renewed = await twice(scissors, cut, partial(store.renew, {"lease": HOUR * number}))
            assert [(lease.id, lease.is_extended) for lease in renewed.held] == [("a", True)]

    assert scissors.cuts == TIMES
    assert rows(place, "leased_until - started_at > 19 * 3600000000, revision") == [(True, 1)]


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_deletion_is_done_or_finds_nothing(cut: Cut, place: Place) -> None:
    """The next of the key has its seat."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            await store.insert([new_task(f"{number} a", key=str(number)), new_task(f"{number} b", key=str(number))])
            task = (await store.get([f"{number} a"])).tasks[f"{number} a"]
            (verdict,) = await twice(scissors, cut, partial(store.delete, [deletion(task)]))
            assert verdict is (Verdict.APPLIED if cut is Cut.BEFORE else Verdict.MISSING)

    assert scissors.cuts == TIMES
    assert Counter(rows(place, "right(id, 1), head_key IS NOT NULL")) == {("b", True): TIMES}


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_a_control_record_is_written_once_over_a_revision(cut: Cut, place: Place) -> None:
    """Whoever is refused finds its own value there."""
    async with a_store(place) as (store, scissors):
        for number in range(TIMES):
            done = await twice(scissors, cut, partial(store.write_control, "one", str(number), if_revision=number))
            assert done is (cut is Cut.BEFORE)
            record = (await store.read_control("one"))["one"]
            assert (record.value, record.revision) == (str(number), number + 1)

    assert scissors.cuts == TIMES


@pytest.mark.parametrize("cut", Cut)
@asynchronous
async def test_every_task_completes_once_while_every_seventh_write_is_cut(cut: Cut, place: Place) -> None:
    """Creations, claims, renewals and settles."""
    writes, cuts = count(1), 0

    def decide(wrote: bool) -> Cut | None:  # noqa: FBT001 - the only thing there is to tell
        nonlocal cuts
        if not wrote or next(writes) % 7:
            return None
        cuts += 1
        return cut

    runs, completed = Counter[str](), Counter[str]()
    async with place.way(decide) as cut_off:
        manager = TaskManager(cut_off, poll_interval=0.1)

        @manager.task_handler(Job, concurrency=5)
        async def handle(task: OnceTask[Job]) -> None:
            runs[task.id] += 1

        manager.register_task_handler(Keyed, lambda task: runs.update([task.id]), concurrency=5)
        manager.on_event(lambda event: completed.update([event.task_id] if event.name.value == "completed" else []))
        for number in range(100):
            await manager.create_tasks([Job(f"j{number}"), Keyed(f"k{number}", str(number % 5))])
        while_creating = cuts
        async with asyncio.timeout(ENOUGH):
            await manager.drain()
        await manager.close()

    assert cuts > while_creating > 10
    assert set(runs.values()) == set(completed.values()) == {1}
    assert len(runs) == len(completed) == 200
    assert Counter(rows(place, "outcome, claims")) == {("completed", 1): 200}
