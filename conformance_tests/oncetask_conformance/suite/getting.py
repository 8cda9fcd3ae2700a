"""Getting: records come back as they lie in the storage, each by its own id."""

import msgspec
import pytest

from oncetask_conformance.factories import ONE_ATTEMPT, a_failure, a_new_task
from oncetask_conformance.harness import SPOILED_RECORDS, as_raw
from oncetask_conformance.running import needs
from oncetask_conformance.states import State, reach
from oncetask_conformance.suite.inserting import DISTINCT, FIELDS
from oncetask_conformance.world import World
from oncetask_core.decisions import deletion
from oncetask_core.transition import Verdict


class GettingTests:
    """What `get` returns."""

    @pytest.mark.parametrize("state", State)
    async def test_a_record_is_what_lies_in_the_storage(self, world: World, state: State) -> None:
        """Every field of a task in every state is read as it is stored."""
        task = await reach(world, state, "a")

        assert as_raw(task) == await world.raw("a")

    @pytest.mark.parametrize("state", State)
    async def test_reading_changes_nothing(self, world: World, state: State) -> None:
        """Getting a task leaves every field as it was."""
        await reach(world, state, "a")
        before = await world.everything()

        await world.store.get(["a", "b"])

        assert await world.everything() == before

    async def test_an_unknown_id_is_simply_missing(self, world: World) -> None:
        """Ids without a task appear nowhere in the answer."""
        await world.add(a_new_task("a"))

        found = await world.store.get(["a", "b"])

        assert (set(found.tasks), dict(found.unreadable)) == ({"a"}, {})

    async def test_several_tasks_come_by_their_ids(self, world: World) -> None:
        """Each id leads to its own task."""
        await world.add(*(a_new_task(task_id, payload=f'{{"n":"{task_id}"}}') for task_id in "abc"))

        found = await world.store.get(["c", "a"])

        assert {task_id: task.payload for task_id, task in found.tasks.items()} == {
            "a": '{"n":"a"}',
            "c": '{"n":"c"}',
        }

    async def test_an_id_that_is_asked_for_twice_comes_once(self, world: World) -> None:
        """Repeated ids do no harm."""
        await world.add(a_new_task("a"))

        found = await world.store.get(["a", "a"])

        assert list(found.tasks) == ["a"]

    async def test_asking_for_nothing_finds_nothing(self, world: World) -> None:
        """No ids, no tasks."""
        await world.add(a_new_task("a"))

        found = await world.store.get([])

        assert (dict(found.tasks), dict(found.unreadable)) == ({}, {})

    async def test_any_collection_of_ids_will_do(self, world: World) -> None:
        """Sets and mappings' keys are taken like lists."""
        await world.add(a_new_task("a"), a_new_task("b"))

        of_a_set = await world.store.get(frozenset({"a", "b"}))
        of_keys = await world.store.get({"a": 1}.keys())

        assert (set(of_a_set.tasks), set(of_keys.tasks)) == ({"a", "b"}, {"a"})

    async def test_a_thousand_ids_fit_into_one_call(self, world: World) -> None:
        """Long lists of ids are answered whole."""
        ids = [f"task {number}" for number in range(1000)]
        await world.add(*(a_new_task(task_id) for task_id in ids))

        found = await world.store.get([*ids, "nobody"])

        assert set(found.tasks) == set(ids)

    @pytest.mark.parametrize("difference", DISTINCT)
    async def test_a_similar_id_finds_nothing(self, world: World, difference: str) -> None:
        """Ids are looked up byte by byte."""
        one, other = DISTINCT[difference]
        await world.add(a_new_task(one))

        found = await world.store.get([other])

        assert dict(found.tasks) == {}

    async def test_a_deleted_task_is_missing(self, world: World) -> None:
        """After its deletion an id leads nowhere."""
        await world.add(a_new_task("a"))
        await world.store.delete([deletion(await world.record("a"))])

        found = await world.store.get(["a"])

        assert dict(found.tasks) == {}

    async def test_another_instance_reads_the_same(self, world: World) -> None:
        """What one instance wrote, every other instance reads."""
        task = await reach(world, State.COMPLETED, "a")
        other = await world.another()

        found = await other.get(["a"])

        assert dict(found.tasks) == {"a": task}

    async def test_the_payload_is_decoded_on_request(self, world: World) -> None:
        """`data` reads the stored text, and no reader is bound to a record that comes from a store."""
        await world.add(a_new_task("a", payload='{"to":["Ada",null,2.5]}'))

        task = await world.record("a")

        assert (task.data, task.reader) == ({"to": ["Ada", None, 2.5]}, None)

    async def test_long_error_texts_are_kept_whole(self, world: World) -> None:
        """An error of 4 KiB comes back to the last character, whatever is in it."""
        text = "é'\"\\\n\t%s🚚" * 250
        task = await world.take(a_new_task("a"))

        assert await world.settle(task, a_failure(text), ONE_ATTEMPT) is Verdict.APPLIED
        assert [error.error for error in (await world.record("a")).errors] == [text]
        assert [error.error for error in (await world.raw("a")).errors] == [text]

    @pytest.mark.parametrize("name", ["headers", "strict_order", "occurrence_timestamp", "wait_until"])
    async def test_a_value_has_the_type_of_its_field(self, world: World, name: str) -> None:
        """Booleans, mappings and aware times come back as such, not as what the storage keeps."""
        await world.add(msgspec.structs.replace(a_new_task("a"), **{name: FIELDS[name]}))

        value = getattr(await world.record("a"), name)

        assert isinstance(value, type(FIELDS[name]))
        assert getattr(value, "tzinfo", None) == getattr(FIELDS[name], "tzinfo", None)

    @needs(SPOILED_RECORDS)
    async def test_an_unreadable_record_keeps_no_other_from_being_read(self, world: World) -> None:
        """A damaged record is reported by its id and reason; its neighbours are returned."""
        await world.add(*(a_new_task(task_id) for task_id in "abc"))
        await world.space.spoil(world.store.env, "b")

        found = await world.store.get(["a", "b", "c"])

        assert set(found.tasks) == {"a", "c"}
        assert set(found.unreadable) == {"b"}
        assert found.unreadable["b"]
