"""Inserting: what a new task looks like in the storage, and what happens to ids that exist."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from oncetask_conformance.factories import HOUR, KEY, KIND, MINUTE, a_claim, a_generator, a_new_task, a_rule
from oncetask_conformance.running import on_both_clocks
from oncetask_conformance.states import State, new_in, reach
from oncetask_conformance.world import ENV, World
from oncetask_core.task import StoreNow
from oncetask_core.transition import Inserted

SOMETIME = datetime(2031, 5, 17, 13, 45, 12, 345678, tzinfo=UTC)
FIELDS = {
    "kind": "letter",
    "payload": '{"to":"Grace","lines":[1,2.5,null,true]}',
    "run_uid": "5c7d",
    "created_by": "request 17",
    "resource_key": KEY,
    "strict_order": True,
    "queue": "slow",
    "priority": -7,
    "headers": {"traceparent": "00-4bf9-01", "tenant": "Überlingen"},
    "parent_recurrence_id": "every morning",
    "occurrence_timestamp": SOMETIME,
    "wait_until": SOMETIME,
    "slots_used": 12,
}
EMPTY = {
    "head_key": None,
    "lease_uid": None,
    "leased_by": None,
    "leased_until": None,
    "epoch": 0,
    "in_cleanup": False,
    "started_at": None,
    "revision": 0,
    "settled_by": (),
    "claims": 0,
    "failures": 0,
    "crashes": 0,
    "cleanup_attempts": 0,
    "is_cancelled": False,
    "cancelled_at": None,
    "done_at": None,
    "outcome": None,
    "result": None,
    "errors": (),
    "error_count": 0,
    "progress": None,
    "recurrence": None,
}
PAYLOADS = {
    "an empty object": "{}",
    "spaces between": '{ "a" : [ 1,  2 ] }',
    "escapes": '{"a":"\\u00e9\\n\\\\\\"\'"}',
    "other scripts": '{"to":"Zürich 東京 🚚"}',
    "large integers": '{"n":9223372036854775807}',
    "many digits": '{"n":0.1000000000000000055511151231257827}',
    "repeated keys": '{"a":1,"a":2}',
    "100 kB": '{"blob":"' + "x" * 100_000 + '"}',
}
DISTINCT = {
    "case": ("parcel", "Parcel"),
    "a space at the end": ("parcel", "parcel "),
    "composition": ("caf\u00e9", "cafe\u0301"),
    "accents": ("resume", "résumé"),
    "width": ("A1", "\uff21\uff11"),
    "what SQL reads as a pattern": ("a%c", "abc"),
    "quotes": ("it's", "its"),
    "digits": ("1", "01"),
}


class InsertingTests:
    """What `insert` writes and answers."""

    async def test_a_new_task_is_answered_as_created(self, world: World) -> None:
        """The answer names the id, kind and creator of the task that was created."""
        answers = await world.add(a_new_task("a", kind="letter", created_by="me"))

        assert list(answers) == [Inserted(id="a", created=True, kind="letter", created_by="me")]

    @pytest.mark.parametrize("field", FIELDS)
    async def test_each_field_is_stored_as_given(self, world: World, field: str) -> None:
        """What the creator decides lies in the storage unchanged."""
        await world.add(msgspec.structs.replace(a_new_task("a"), **{field: FIELDS[field]}))

        assert getattr(await world.raw("a"), field) == FIELDS[field]

    @pytest.mark.parametrize("field", EMPTY)
    async def test_what_has_not_happened_yet_is_empty(self, world: World, field: str) -> None:
        """A new task has no lease, no history and no end."""
        await world.add(a_new_task("a"))

        assert getattr(await world.raw("a"), field) == EMPTY[field]

    @pytest.mark.parametrize("what", PAYLOADS)
    async def test_the_payload_is_stored_character_by_character(self, world: World, what: str) -> None:
        """A store does not read, reorder or reformat the payload."""
        await world.add(a_new_task("a", payload=PAYLOADS[what]))

        assert (await world.raw("a")).payload == PAYLOADS[what]
        assert (await world.record("a")).payload == PAYLOADS[what]

    async def test_the_environment_is_that_of_the_store(self, world: World) -> None:
        """The record names the environment of the store that inserted it."""
        await world.add(a_new_task("a"))

        assert (await world.raw("a")).env == ENV == world.store.env

    @on_both_clocks
    async def test_creation_is_timed_by_the_store(self, world: World) -> None:
        """`created_at` is the store's time during the call."""
        before = await world.store.now()
        await world.add(a_new_task("a"))
        after = await world.store.now()

        assert before <= (await world.raw("a")).created_at <= after

    @on_both_clocks
    async def test_a_time_relative_to_the_stores_clock_counts_from_its_now(self, world: World) -> None:
        """`StoreNow` means the store's time at the write plus the duration."""
        await world.add(a_new_task("now"), a_new_task("later", wait_until=StoreNow(HOUR)))

        now, later = await world.raw("now"), await world.raw("later")
        assert now.wait_until == now.created_at
        assert later.wait_until == later.created_at + HOUR

    @pytest.mark.parametrize("year", [1900, 1970, 2038, 2262, 9990])
    async def test_far_times_are_exact_to_the_microsecond(self, world: World, year: int) -> None:
        """Times of any year keep their microseconds."""
        time = datetime(year, 1, 1, 23, 59, 59, 999999, tzinfo=UTC)

        await world.add(a_new_task("a", wait_until=time))

        assert (await world.raw("a")).wait_until == (await world.record("a")).wait_until == time

    @pytest.mark.parametrize("priority", [-10, -1, 0, 1, 10])
    async def test_each_step_of_priority_is_worth_a_minute(self, world: World, priority: int) -> None:
        """The place in the claim order is the waiting time less sixty seconds per step."""
        await world.add(
            a_new_task("absolute", wait_until=SOMETIME, priority=priority),
            a_new_task("relative", wait_until=StoreNow(HOUR), priority=priority),
        )

        relative = await world.raw("relative")
        assert (await world.raw("absolute")).order_at == SOMETIME - priority * MINUTE
        assert relative.order_at == relative.created_at + HOUR - priority * MINUTE

    async def test_the_rule_of_a_generator_is_stored(self, world: World) -> None:
        """A generator keeps its recurrence rule and has no seat, whatever its key."""
        await world.add(a_generator("a", resource_key=KEY, slots_used=3))

        raw = await world.raw("a")
        assert raw.recurrence == a_rule()
        assert (raw.slots_used, raw.resource_key, raw.head_key) == (3, KEY, None)

    async def test_an_id_that_exists_is_answered_with_its_kind_and_creator(self, world: World) -> None:
        """Whoever comes second learns whose task it is."""
        await world.add(a_new_task("a", kind="letter", created_by="first"))

        answers = await world.add(a_new_task("a", kind="parcel", created_by="second"))

        assert list(answers) == [Inserted(id="a", created=False, kind="letter", created_by="first")]

    @pytest.mark.parametrize("state", State)
    async def test_an_id_that_exists_is_left_untouched(self, world: World, state: State) -> None:
        """Inserting an id again changes nothing, whatever became of the task."""
        await reach(world, state, "a")
        before = await world.everything()

        answers = await world.add(a_new_task("a", payload='{"to":"Eve"}', created_by="second", priority=9))

        assert [answer.created for answer in answers] == [False]
        assert await world.everything() == before

    async def test_a_repeat_after_a_lost_reply_is_recognised(self, world: World) -> None:
        """The same call again is answered as existing, with the caller's own nonce."""
        await world.add(a_new_task("a", created_by="me"))

        (answer,) = await world.add(a_new_task("a", created_by="me"))

        assert (answer.created, answer.created_by) == (False, "me")

    async def test_of_equal_ids_in_one_call_the_first_is_created(self, world: World) -> None:
        """Later ones of the same call are answered as existing."""
        answers = await world.add(
            a_new_task("a", payload="{}", created_by="first"),
            a_new_task("a", payload="[]", created_by="second"),
        )

        assert [(answer.created, answer.created_by) for answer in answers] == [
            (True, "first"),
            (False, "first"),
        ]
        assert (await world.raw("a")).payload == "{}"

    async def test_answers_stand_in_the_order_of_the_tasks(self, world: World) -> None:
        """One answer per task, created or not, in the order given."""
        await world.add(a_new_task("b"), a_new_task("d"))

        answers = await world.add(*(a_new_task(task_id) for task_id in "edcba"))

        assert [(answer.id, answer.created) for answer in answers] == [
            ("e", True),
            ("d", False),
            ("c", True),
            ("b", False),
            ("a", True),
        ]

    async def test_inserting_nothing_answers_nothing(self, world: World) -> None:
        """An empty call has no answers and writes nothing."""
        answers = await world.store.insert([])

        assert list(answers) == []
        assert await world.everything() == {}

    async def test_a_finished_task_keeps_its_id(self, world: World) -> None:
        """A completed task is not run again by creating it again."""
        await reach(world, State.COMPLETED, "a")

        await world.add(new_in(State.COMPLETED, "a"))

        assert await world.claimed_ids("lease 2", kinds=["kind of a", KIND]) == []

    async def test_sequences_rise_in_the_order_given(self, world: World) -> None:
        """Creation order is the order within a call, then the order of calls."""
        await world.add(a_new_task("c"), a_new_task("a"))
        await world.add(a_new_task("b"))

        tasks = sorted((await world.everything()).values(), key=lambda task: task.sequence)
        assert [task.id for task in tasks] == ["c", "a", "b"]
        assert len({task.sequence for task in tasks}) == 3

    async def test_many_tasks_go_into_one_call(self, world: World) -> None:
        """A thousand tasks are created by one call, each once, in order."""
        ids = [f"task {number}" for number in range(1000)]

        answers = await world.add(*(a_new_task(task_id) for task_id in ids))

        tasks = sorted((await world.everything()).values(), key=lambda task: task.sequence)
        assert all(answer.created for answer in answers)
        assert [task.id for task in tasks] == ids

    async def test_one_of_many_creators_of_an_id_wins(self, world: World) -> None:
        """Of concurrent creators exactly one is told that it created the task, and it is its task."""
        stores = [world.store, *[await world.another() for _ in range(3)]]

        answers = await asyncio.gather(
            *(store.insert([a_new_task("a", created_by=f"creator {n}")]) for n, store in enumerate(stores))
        )

        winners = [f"creator {n}" for n, (answer,) in enumerate(answers) if answer.created]
        assert winners == [(await world.raw("a")).created_by]

    @pytest.mark.parametrize("difference", DISTINCT)
    async def test_ids_are_compared_byte_by_byte(self, world: World, difference: str) -> None:
        """Ids that merely look alike are two tasks."""
        one, other = DISTINCT[difference]

        answers = await world.add(a_new_task(one), a_new_task(other))

        assert [answer.created for answer in answers] == [True, True]
        assert set(await world.everything()) == {one, other}

    async def test_a_long_id_and_key_are_stored_whole(self, world: World) -> None:
        """Ids and keys of 512 bytes are kept to the last character."""
        alike = ["x" * 511 + end for end in "ab"]

        await world.add(*(a_new_task(task_id, resource_key=task_id, queue="q" * 128) for task_id in alike))

        assert {task.id: task.resource_key for task in (await world.everything()).values()} == {x: x for x in alike}

    async def test_a_new_task_can_be_claimed_by_another_instance_at_once(self, world: World) -> None:
        """What one instance inserted, every other instance sees."""
        other = await world.another()

        await world.add(a_new_task("a"))

        claimed = await other.claim(a_claim())
        assert [task.id for task in claimed.tasks] == ["a"]
