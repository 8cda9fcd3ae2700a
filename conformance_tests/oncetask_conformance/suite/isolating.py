"""Isolation: no operation reads or changes the tasks of another environment."""

from collections.abc import Awaitable, Callable, Mapping

import pytest

from oncetask_conformance.factories import HOUR, a_claim, a_new_task, keyed
from oncetask_conformance.states import State, collection
from oncetask_conformance.suite.deciding import a_cancel
from oncetask_conformance.world import World
from oncetask_core.decisions import deletion
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.store import TaskStore
from oncetask_core.transition import Atom, Verdict

OTHER = "staging"
Operation = Callable[[World, TaskStore], Awaitable[object]]


async def _claim_all(_: World, store: TaskStore) -> object:
    kinds = ["parcel", *(f"kind of {state}" for state in State)]
    return [await store.claim(a_claim(f"{suspects}", kinds=kinds, suspects=suspects)) for suspects in (False, True)]


async def _cancel_all(world: World, store: TaskStore) -> object:
    live = [await world.record(task_id) for task_id in await world.found(TaskFilter(live=True))]
    transitions = [a_cancel(task) for task in live if not task.is_cancelled]
    return await store.apply([Atom((transition,)) for transition in transitions])


async def _settle_all(world: World, store: TaskStore) -> object:
    held = [task for task in [await world.record(state) for state in State] if task.lease_uid is not None]
    return await store.apply([Atom((world.conclusion(task),)) for task in held])


async def _delete_all(world: World, store: TaskStore) -> object:
    return await store.delete([deletion(await world.record(state)) for state in State])


OPERATIONS: Mapping[str, Operation] = {
    "insert": lambda _, store: store.insert([a_new_task(state, payload="[]") for state in State]),
    "get": lambda _, store: store.get(list(State)),
    "find": lambda _, store: store.find(TaskQuery()),
    "count": lambda _, store: store.count(TaskFilter()),
    "claim": _claim_all,
    "cancel": _cancel_all,
    "settle": _settle_all,
    "renew": lambda _, store: store.renew({f"lease of {state}": 9 * HOUR for state in State}),
    "delete": _delete_all,
    "write control": lambda _, store: store.write_control("a", "2"),
    "remove control": lambda _, store: store.write_control("a", None),
}


class IsolationTests:
    """What one environment sees of another: nothing."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_no_operation_changes_another_environment(self, world: World, operation: str) -> None:
        """After each operation, with the very ids, guards and leases, the other tasks are as they were."""
        await collection(world)
        await world.store.write_control("a", "1")
        before, records = await world.everything(), dict(await world.store.read_control())
        other = await world.another(OTHER)

        await OPERATIONS[operation](world, other)

        assert await world.everything() == before
        assert dict(await world.store.read_control()) == records

    async def test_an_id_may_exist_in_every_environment(self, world: World) -> None:
        """Ids are unique within an environment only."""
        other = await world.another(OTHER)
        await world.add(a_new_task("a", payload="1"))

        (answer,) = await other.insert([a_new_task("a", payload="2")])

        assert answer.created
        assert ((await world.raw("a")).payload, (await world.raw("a", OTHER)).payload) == ("1", "2")
        assert (await world.raw("a", OTHER)).env == other.env == OTHER

    async def test_nothing_of_another_environment_is_read(self, world: World) -> None:
        """Get, find and count see an empty environment."""
        await collection(world)
        other = await world.another(OTHER)

        assert dict((await other.get(list(State))).tasks) == {}
        assert list((await other.find(TaskQuery())).tasks) == []
        assert await other.count(TaskFilter()) == 0

    async def test_nothing_of_another_environment_is_claimed(self, world: World) -> None:
        """A claim takes no task of another environment, and is not told of its times."""
        await collection(world)
        other = await world.another(OTHER)

        claimed = await other.claim(a_claim(kinds=[f"kind of {state}" for state in State]))

        assert (list(claimed.tasks), claimed.next_due) == ([], None)

    async def test_no_lease_of_another_environment_is_held(self, world: World) -> None:
        """A renewal finds nothing under the lease of another environment."""
        await world.take()
        other = await world.another(OTHER)

        assert list((await other.renew({"lease 1": None})).held) == []

    async def test_guards_of_another_environment_find_nothing(self, world: World) -> None:
        """Settles and deletions with the right names are answered as missing."""
        task = await world.take()
        other = await world.another(OTHER)

        (answer,) = await other.apply([Atom((world.conclusion(task),))])

        assert (answer.verdict, answer.task) == (Verdict.MISSING, None)
        assert list(await other.delete([deletion(task)])) == [Verdict.MISSING]

    async def test_a_key_is_held_in_one_environment(self, world: World) -> None:
        """The same key in another environment is another key."""
        other = await world.another(OTHER)
        await world.take(keyed("a"))

        await other.insert([keyed("b")])

        assert [task.id for task in (await other.claim(a_claim("lease 2"))).tasks] == ["b"]

    async def test_an_equal_lease_holds_its_own_tasks_only(self, world: World) -> None:
        """A repeat of a claim returns nothing of another environment under the same lease."""
        other = await world.another(OTHER)
        await world.take(a_new_task("a"))
        await other.insert([a_new_task("b")])

        assert [task.id for task in (await other.claim(a_claim("lease 1"))).tasks] == ["b"]
        assert await world.claimed_ids("lease 1") == ["a"]

    async def test_control_records_belong_to_an_environment(self, world: World) -> None:
        """A record of the same name may have another value elsewhere, and a first write is one."""
        other = await world.another(OTHER)
        await world.store.write_control("a", "1")

        assert await other.write_control("a", "2", if_revision=0) is True
        assert (await world.store.read_control())["a"].value == "1"

    @pytest.mark.parametrize("env", ["default", "DEFAULT ", "D%", "Défault", "x" * 128])
    async def test_environments_are_compared_byte_by_byte(self, world: World, env: str) -> None:
        """Names that merely look alike are two environments."""
        await world.add()
        other = await world.another(env)

        assert await other.count(TaskFilter()) == 0
        assert (await other.insert([a_new_task("a")]))[0].created
