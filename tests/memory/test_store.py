"""What the memory store promises beyond the port: spaces, time, numbering, and what it refuses."""

import asyncio
import itertools
import threading
import time
from datetime import timedelta

import msgspec
import pytest

from oncetask_core.claims import Slots
from oncetask_core.clock import START, VirtualClock
from oncetask_core.decisions import Released, conclude, deletion, expire, reset
from oncetask_core.errors import ConfigurationError, InvalidTaskError, StoreError
from oncetask_core.query import TaskFilter, TaskOrder, TaskQuery
from oncetask_core.store import TaskStore
from oncetask_core.task import StoreNow
from oncetask_core.transition import Atom, Patch, Verdict
from oncetask_memory import MemoryStore, Space, open_store
from tests.asynchronous import SOON
from tests.memory.world import DONE, HOUR, RULES, SECOND, World, a_claim, a_task, result_of, slots_claim

NEVER = StoreNow(timedelta.max)


class SteppingClock(VirtualClock):
    """A clock that somebody sets."""

    def set(self, seconds: float) -> None:
        """Read so many seconds after the start."""
        self._now = START + seconds * SECOND


@pytest.fixture
def world() -> World:
    """Return an empty store in virtual time."""
    return World()


class TestOpening:
    """How a store comes to be."""

    def test_a_url_opens_a_new_store(self) -> None:
        """Two stores of the same URL share nothing."""
        one, other = (open_store("memory://", env="TEST", clock=VirtualClock()) for _ in range(2))

        result_of(one.insert([a_task()]))

        assert (one.env, dict(result_of(other.get(["a"])).tasks)) == ("TEST", {})

    @pytest.mark.parametrize("url", ["memory://name", "memory:///", "memory://?x=1", "memory:", "sqlite://", ""])
    def test_a_url_with_anything_else_is_refused(self, url: str) -> None:
        """A name would promise that stores share it."""
        with pytest.raises(ConfigurationError, match="memory") as caught:
            open_store(url, env="TEST")

        assert caught.value.value == url

    def test_it_is_a_task_store_with_an_injected_clock(self) -> None:
        """It has every method of the port, and names its one capability."""
        store = MemoryStore()

        assert isinstance(store, TaskStore)
        assert (store.env, store.capabilities) == ("DEFAULT", frozenset({"injected_clock"}))

    def test_opening_closing_and_migrating_change_nothing(self, world: World) -> None:
        """The tasks are there as long as the store is."""
        world.add(a_task())

        for call in (world.store.open, world.store.migrate, world.store.close, world.store.close, world.store.open):
            result_of(call())

        assert set(world.everything()) == {"a"}

    def test_a_bad_environment_is_refused(self) -> None:
        """The rule is that of every store."""
        with pytest.raises(InvalidTaskError, match="environment"):
            MemoryStore(env="a\nb")

    def test_a_clock_beside_a_space_is_refused(self) -> None:
        """A space has one clock for all of its stores."""
        with pytest.raises(ConfigurationError, match="clock"):
            MemoryStore(clock=VirtualClock(), space=Space())


class TestSharing:
    """Several stores on one space."""

    def test_stores_of_one_environment_see_the_same_tasks(self, world: World) -> None:
        """A store is a view of its space."""
        other = MemoryStore(space=world.store.space)
        world.add(a_task())

        assert set(result_of(other.get(["a"])).tasks) == {"a"}

    def test_environments_are_apart(self, world: World) -> None:
        """The very id, key and lease belong to one task per environment."""
        other = MemoryStore(env="B", space=world.store.space)
        world.add(a_task("a", resource_key="north"))
        result_of(other.insert([a_task("a", resource_key="north")]))

        (mine,) = world.claim()
        (theirs,) = result_of(other.claim(a_claim())).tasks
        world.settle(mine)

        assert (mine.env, theirs.env) == ("DEFAULT", "B")
        assert result_of(other.get(["a"])).tasks["a"] == theirs

    def test_control_records_are_apart(self, world: World) -> None:
        """A name may have a record in every environment, each with revisions of its own."""
        other = MemoryStore(env="B", space=world.store.space)

        assert result_of(world.store.write_control("a", "1", if_revision=0))
        assert result_of(other.write_control("a", "2", if_revision=0))
        assert result_of(world.store.read_control())["a"].value == "1"

    def test_threads_with_loops_of_their_own_share_a_store(self) -> None:
        """Claims from several threads take each task once, and every settle is accepted."""
        store = MemoryStore()
        result_of(store.insert([a_task(f"{n}", resource_key=f"{n % 7}") for n in range(300)]))
        accepted: list[str] = []
        until = time.monotonic() + SOON

        async def drain(worker: int) -> None:
            for call in itertools.count():
                claimed = await store.claim(a_claim(f"lease {worker}.{call}", limit=3))
                atoms = [Atom((conclude(task, DONE, RULES, chance=0.0),)) for task in claimed.tasks]
                answers = await store.apply(atoms)
                assert {answer.verdict for answer in answers} <= {Verdict.APPLIED}
                accepted.extend(task.id for task in claimed.tasks)
                if len(accepted) == 300 or time.monotonic() > until:
                    return

        threads = [threading.Thread(target=asyncio.run, args=(drain(worker),)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(accepted) == sorted(f"{n}" for n in range(300))


class TestTime:
    """The clock of the store."""

    def test_time_stands_still_while_the_clock_runs_backwards(self) -> None:
        """It goes on when the clock has caught up, for every store of the space."""
        clock = SteppingClock()
        store = MemoryStore(clock=clock)
        other = MemoryStore(env="B", space=store.space)
        readings = []
        for seconds in (10, 5, 9, 11):
            clock.set(seconds)
            readings += [result_of(store.now()), result_of(other.now())]

        assert [(reading - START) // SECOND for reading in readings] == [10, 10, 10, 10, 10, 10, 11, 11]

    def test_nothing_is_due_twice_when_the_clock_runs_backwards(self) -> None:
        """A task that was due stays due."""
        clock = SteppingClock()
        store = MemoryStore(clock=clock)
        result_of(store.insert([a_task(wait_until=StoreNow(5 * SECOND))]))
        clock.set(5)
        result_of(store.now())
        clock.set(1)

        assert [task.id for task in result_of(store.claim(a_claim())).tasks] == ["a"]


class TestNumbering:
    """Sequences, epochs and revisions."""

    def test_each_grant_has_an_epoch_of_its_own_in_claim_order(self, world: World) -> None:
        """The members of a group are numbered in order, and the next claim goes on."""
        world.add(*(a_task(letter, resource_key="north") for letter in "abc"))

        first = world.claim(group=3)
        world.settle(*first, report=Released())
        second = world.claim("lease 2", group=2)

        assert [(task.id, task.epoch) for task in first] == [("a", 1), ("b", 2), ("c", 3)]
        assert [task.epoch for task in second] == [4, 5]

    def test_numbers_rise_across_environments(self, world: World) -> None:
        """One counter serves all environments of a space."""
        other = MemoryStore(env="B", space=world.store.space)
        for store in (world.store, other):
            result_of(store.insert([a_task()]))

        epochs = [result_of(store.claim(a_claim())).tasks[0].epoch for store in (world.store, other)]

        assert epochs == [1, 2]
        assert result_of(other.get(["a"])).tasks["a"].sequence == 2

    def test_a_revision_of_a_control_record_never_comes_back(self, world: World) -> None:
        """After a removal the record goes on with higher revisions, and an old one matches nothing."""
        store = world.store
        result_of(store.write_control("a", "1"))
        result_of(store.write_control("a", None))
        result_of(store.write_control("a", None))
        result_of(store.write_control("a", "2"))

        assert result_of(store.read_control())["a"].revision > 1
        assert result_of(store.write_control("a", "3", if_revision=1)) is False

    def test_a_repeat_of_a_claim_names_what_is_due_next(self, world: World) -> None:
        """Whoever lost the reply may sleep as long as everybody else."""
        world.add(a_task("a"), a_task("b", wait_until=StoreNow(HOUR)))
        first = result_of(world.store.claim(a_claim()))

        assert result_of(world.store.claim(a_claim())) == first
        assert first.next_due == START + HOUR


class TestClaiming:
    """What the indexes are asked for by the rarer claims."""

    def test_the_first_suspect_of_all_kinds_is_taken(self, world: World) -> None:
        """Kinds are no order: the most urgent suspect comes first, whatever its kind."""
        slots = {"letter": Slots(9), "parcel": Slots(9), "postcard": Slots(9)}
        world.add(a_task("a"), a_task("b", kind="parcel", priority=1), a_task("c", priority=2), a_task("d"))
        world.clock.advance(SECOND)
        tasks = result_of(world.store.claim(slots_claim("crashed", slots))).tasks
        world.clock.advance(HOUR)
        world.submit(*(expire(task, RULES, at=world.clock.now(), chance=0.0) for task in tasks if task.id != "c"))

        taken = [
            [task.id for task in result_of(world.store.claim(slots_claim(f"{n}", slots, suspects=True))).tasks]
            for n in range(4)
        ]

        assert taken == [["b"], ["a"], ["d"], []]

    def test_a_group_passes_over_suspects(self, world: World) -> None:
        """What crashed a worker takes no place of the group, and those behind it join."""
        world.add(*(a_task(letter, resource_key="north") for letter in "abcdef"))
        crashed = world.claim(group=6)
        world.clock.advance(HOUR)
        world.submit(*(expire(task, RULES, at=world.clock.now(), chance=0.0) for task in crashed if task.id in "bcd"))
        world.settle(*(task for task in crashed if task.id in "aef"), report=Released())

        assert [task.id for task in world.claim("lease 2", group=3)] == ["a", "e", "f"]

    def test_a_kind_that_nobody_created_has_nothing(self, world: World) -> None:
        """It stands on no agenda, also afterwards."""
        claimed = result_of(world.store.claim(a_claim()))

        assert (list(claimed.tasks), claimed.next_due) == ([], None)
        assert world.store.space.shelves["DEFAULT"]._agendas == {}

    def test_a_lease_no_longer_holds_what_is_deleted(self, world: World) -> None:
        """Neither a renewal nor a repeat of the claim meets the deleted task; the lease may be granted others."""
        world.add(a_task("a"))
        (a,) = world.claim()
        result_of(world.store.delete([deletion(a)]))
        world.add(a_task("b"))

        assert list(result_of(world.store.renew({"lease 1": HOUR})).held) == []
        assert [task.id for task in world.claim()] == ["b"]

    def test_a_renewal_writes_only_what_makes_a_lease_longer(self, world: World) -> None:
        """None asks, less time than is left changes nothing, and more is granted without a new revision."""
        world.add(a_task())
        world.claim()
        ends = []
        for by in (None, SECOND, HOUR):
            result_of(world.store.renew({"lease 1": by}))
            ends.append(world.everything()["a"].leased_until)

        assert ends == [START + 60 * SECOND, START + 60 * SECOND, START + HOUR]
        assert world.everything()["a"].revision == 1


class TestListing:
    """Pages, whatever index they are read from."""

    @pytest.mark.parametrize("where", [TaskFilter(), TaskFilter(live=True), TaskFilter(kinds=frozenset({"letter"}))])
    @pytest.mark.parametrize("order", TaskOrder)
    def test_pages_follow_each_other_in_either_order(
        self, *, world: World, where: TaskFilter, order: TaskOrder
    ) -> None:
        """Each task is listed once, in order of creation."""
        world.add(*(a_task(letter) for letter in "cabed"))
        page = result_of(world.store.find(TaskQuery(where=where, order=order, limit=2)))
        found = [task.id for task in page]
        while page.cursor is not None:
            query = TaskQuery(where=where, order=order, limit=2, cursor=page.cursor)
            page = result_of(world.store.find(query))
            found += [task.id for task in page]

        assert found == list("cabed" if order is TaskOrder.OLDEST else "debac")

    def test_a_bad_query_is_refused(self, world: World) -> None:
        """The rules are those of every store."""
        with pytest.raises(ConfigurationError, match="page"):
            result_of(world.store.find(TaskQuery(limit=0)))


class TestOutOfRange:
    """Times that no calendar has."""

    def test_an_insert_writes_nothing_of_the_call(self, world: World) -> None:
        """The tasks before the bad one are not there either."""
        with pytest.raises(StoreError, match="nothing was written"):
            world.add(a_task("a"), a_task("b", wait_until=NEVER))

        assert world.everything() == {}

    def test_a_claim_leases_nothing(self, world: World) -> None:
        """The next claim takes what that one could not."""
        world.add(a_task("a"), a_task("b", resource_key="north"))

        with pytest.raises(StoreError, match="range"):
            result_of(world.store.claim(msgspec.structs.replace(a_claim(), lease_for=timedelta.max)))

        assert [task.id for task in world.claim("lease 2")] == ["a", "b"]

    def test_a_renewal_extends_nothing(self, world: World) -> None:
        """A lease before the bad one stays as it was."""
        world.add(a_task("a"))
        world.claim()
        before = world.everything()

        with pytest.raises(StoreError, match="range"):
            result_of(world.store.renew({"lease 1": HOUR, "lease 2": timedelta.max}))

        assert world.everything() == before

    @pytest.mark.parametrize("part", ["transition", "insert"])
    def test_an_atom_is_broken_and_writes_nothing(self, world: World, part: str) -> None:
        """Neither its other transitions nor its inserts remain; its neighbours are written."""
        world.add(*(a_task(letter, resource_key=letter) for letter in "abc"))
        a, b, c = (conclude(task, DONE, RULES, chance=0.0) for task in world.claim())
        before = world.everything()
        if part == "transition":
            late = msgspec.structs.replace(b, patch=b.patch | Patch(wait_until=NEVER))
            broken = Atom((a, late), (a_task("d"),))
        else:
            broken = Atom((a, b), (a_task("d"), a_task("e", wait_until=NEVER)))

        answers = world.apply(broken, Atom((c,)))

        assert [answer.verdict for answer in answers] == [Verdict.BROKEN, Verdict.APPLIED]
        assert isinstance(answers[0].error, StoreError)
        assert {name: task for name, task in world.everything().items() if name != "c"} == {
            name: before[name] for name in "ab"
        }


class TestAtoms:
    """Which answer an atom of several transitions gets."""

    def test_the_first_guard_that_refuses_answers(self, world: World) -> None:
        """Guards behind it are of no interest; its stored record is shown."""
        world.add(*(a_task(letter) for letter in "abc"))
        a, b, c = (conclude(task, DONE, RULES, chance=0.0) for task in world.claim())
        stale = msgspec.structs.replace(b, guard=msgspec.structs.replace(b.guard, revision=9))
        result_of(world.store.delete([deletion(world.everything()["c"])]))

        (answer,) = world.apply(Atom((a, stale, c)))

        assert (answer.verdict, answer.task) == (Verdict.CHANGED, world.everything()["b"])
        assert world.everything()["a"].is_live

    def test_an_atom_is_already_applied_if_all_of_it_is(self, world: World) -> None:
        """A lost reply is recognised."""
        world.add(a_task("a"), a_task("b"))
        atom = Atom(tuple(conclude(task, DONE, RULES, chance=0.0) for task in world.claim()))
        world.apply(atom)

        (answer,) = world.apply(atom)

        assert (answer.verdict, answer.task) == (Verdict.ALREADY, world.everything()["a"])

    @pytest.mark.parametrize("turned", [False, True])
    def test_an_atom_of_which_a_part_is_settled_lost_that_lease(self, *, world: World, turned: bool) -> None:
        """It was not written by this atom, for an atom is written whole: nothing is written now."""
        world.add(a_task("a"), a_task("b"))
        a, b = (conclude(task, DONE, RULES, chance=0.0) for task in world.claim())
        world.submit(a)
        before = world.everything()

        (answer,) = world.apply(Atom((b, a) if turned else (a, b)))

        assert (answer.verdict, answer.task) == (Verdict.LEASE_LOST, before["a"])
        assert world.everything() == before

    def test_a_refusal_outweighs_what_is_already_applied(self, world: World) -> None:
        """Whether other parts were settled does not matter then."""
        world.add(a_task("a"), a_task("b"))
        a, b = (conclude(task, DONE, RULES, chance=0.0) for task in world.claim())
        world.submit(a)
        result_of(world.store.delete([deletion(world.everything()["b"])]))

        (answer,) = world.apply(Atom((a, b)))

        assert (answer.verdict, answer.task) == (Verdict.MISSING, None)

    def test_equal_ids_within_an_atom_create_one_task(self, world: World) -> None:
        """The first is created, the second is told whose it is."""
        (answer,) = world.apply(Atom(inserts=(a_task("a", created_by="me"), a_task("a", created_by="you"))))

        assert [(one.created, one.created_by) for one in answer.inserted] == [(True, "me"), (False, "me")]

    def test_a_call_that_fails_half_way_leaves_its_keys_seated(self, world: World) -> None:
        """What was written before a mistake of the caller stays, and the next of the key can be claimed."""
        world.add(a_task("a", resource_key="north"), a_task("b", resource_key="north"))
        (a,) = world.claim()
        settle = conclude(a, DONE, RULES, chance=0.0)
        again = reset(msgspec.structs.replace(a, outcome="completed", revision=2, lease_uid=None), run_uid="new")
        wrong = msgspec.structs.replace(again, patch={"no such field": 1})

        with pytest.raises(TypeError, match="no such field"):
            world.submit(settle, wrong)

        assert world.seated() == {"b"}


class TestSnapshots:
    """Going back to what was."""

    def test_a_restored_environment_is_as_it_was(self, world: World) -> None:
        """Tasks, seats, leases, order of creation and control records are those of the snapshot."""
        world.add(*(a_task(letter, resource_key="north") for letter in "ab"), a_task("c"))
        result_of(world.store.write_control("pause", "1"))
        world.claim(limit=1)
        before, records = world.everything(), dict(result_of(world.store.read_control()))
        snapshot = world.store.snapshot()
        world.settle(*world.claim("lease 1"))
        world.add(a_task("d"))
        result_of(world.store.write_control("pause", None))

        world.store.restore(snapshot)

        assert (list(world.everything().items()), dict(result_of(world.store.read_control()))) == (
            list(before.items()),
            records,
        )
        assert [task.id for task in world.claim("lease 1")] == ["a"]
        assert world.claim("lease 2") == [world.everything()["c"]]

    def test_a_snapshot_does_not_change(self, world: World) -> None:
        """It may be restored as often as one likes."""
        world.add(a_task())
        snapshot = world.store.snapshot()
        for _ in range(2):
            world.settle(*world.claim())
            world.store.restore(snapshot)

        assert world.everything()["a"].is_live

    def test_numbers_go_on_after_a_restore(self, world: World) -> None:
        """Whoever was granted a task since the snapshot is fenced, and its number is not given again."""
        world.add(a_task())
        result_of(world.store.write_control("a", "1"))
        snapshot = world.store.snapshot()
        (lost,) = world.claim("lease 1")
        result_of(world.store.write_control("a", "2"))
        world.store.restore(snapshot)

        assert world.settle(lost) == [Verdict.LEASE_LOST]
        assert world.claim("lease 2")[0].epoch > lost.epoch
        result_of(world.store.write_control("a", "3"))
        assert result_of(world.store.read_control())["a"].revision == 3

    def test_other_environments_are_left_alone(self, world: World) -> None:
        """Restoring one environment brings back and removes nothing of another."""
        other = MemoryStore(env="B", space=world.store.space)
        snapshot = world.store.snapshot()
        result_of(other.insert([a_task()]))

        world.store.restore(snapshot)

        assert set(result_of(other.get(["a"])).tasks) == {"a"}
        with pytest.raises(ConfigurationError, match="environment"):
            other.restore(snapshot)
