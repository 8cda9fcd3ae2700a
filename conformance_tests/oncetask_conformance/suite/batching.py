"""Batches of atoms: all or nothing each, and independent of each other."""

from datetime import timedelta
from typing import cast

import msgspec
import pytest

from oncetask_conformance.factories import HOUR, KEY, SECOND, a_new_task, keyed
from oncetask_conformance.suite.deciding import a_cancel
from oncetask_conformance.world import World
from oncetask_core.decisions import Success, deletion
from oncetask_core.errors import StoreError
from oncetask_core.status import Outcome
from oncetask_core.task import StoreNow
from oncetask_core.transition import Atom, Event, Patch, Transition, Verdict

UNSTORABLE = {
    "a lone surrogate": Patch(result='"\ud800"'),
    "a time beyond the calendar": Patch(wait_until=StoreNow(timedelta.max)),
}


async def cancels(world: World, letters: str) -> dict[str, Transition]:
    """Insert one task per letter, and return a cancellation of each."""
    await world.add(*(a_new_task(letter) for letter in letters))
    return {letter: a_cancel(await world.record(letter)) for letter in letters}


def stale(transition: Transition) -> Transition:
    """Return the transition as if it had been decided on another revision."""
    guard = msgspec.structs.replace(transition.guard, revision=99)
    return msgspec.structs.replace(transition, guard=guard)


class BatchingTests:
    """What a call with several atoms does."""

    async def test_applying_nothing_answers_nothing(self, world: World) -> None:
        """An empty batch has no answers."""
        assert list(await world.store.apply([])) == []

    async def test_an_empty_atom_is_applied(self, world: World) -> None:
        """Nothing to write is written."""
        (answer,) = await world.store.apply([Atom()])

        assert (answer.verdict, answer.task, answer.inserted, answer.error) == (
            Verdict.APPLIED,
            None,
            (),
            None,
        )

    async def test_answers_stand_in_the_order_of_the_atoms(self, world: World) -> None:
        """Each atom is answered at its place, whatever became of the others."""
        decided = await cancels(world, "abc")
        await world.store.delete([deletion(await world.record("b"))])

        answers = await world.submit(decided["c"], decided["b"], stale(decided["a"]), decided["a"])

        assert [answer.verdict for answer in answers] == [
            Verdict.APPLIED,
            Verdict.MISSING,
            Verdict.CHANGED,
            Verdict.APPLIED,
        ]

    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_a_refused_atom_voids_no_neighbour(self, world: World, place: int) -> None:
        """Wherever the refused one stands, the others are written."""
        decided = list((await cancels(world, "abc")).values())
        decided[place] = stale(decided[place])

        await world.submit(*decided)

        ended = {task.id for task in (await world.everything()).values() if task.outcome is Outcome.CANCELLED}
        assert ended == {"a", "b", "c"} - {"abc"[place]}

    @pytest.mark.parametrize("what", UNSTORABLE)
    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_a_broken_atom_voids_no_neighbour(self, world: World, what: str, place: int) -> None:
        """What the storage cannot take is answered as broken, and the rest is written."""
        decided = list((await cancels(world, "abc")).values())
        broken = msgspec.structs.replace(decided[place], patch=decided[place].patch | UNSTORABLE[what])

        answers = await world.submit(*decided[:place], broken, *decided[place + 1 :])

        neighbours = [answer.verdict for n, answer in enumerate(answers) if n != place]
        assert neighbours == [Verdict.APPLIED, Verdict.APPLIED]
        answer = answers[place]
        assert answer.verdict in (Verdict.BROKEN, Verdict.APPLIED)
        assert isinstance(answer.error, StoreError) == (answer.verdict is Verdict.BROKEN)
        ended = {task.id for task in (await world.everything()).values() if task.outcome is Outcome.CANCELLED}
        assert ended >= {"a", "b", "c"} - {"abc"[place]}

    async def test_a_broken_atom_changes_nothing(self, world: World) -> None:
        """What is answered as broken is as it was, its other transitions and inserts included."""
        decided = await cancels(world, "ab")
        broken = msgspec.structs.replace(
            decided["b"], patch=decided["b"].patch | UNSTORABLE["a time beyond the calendar"]
        )
        before = await world.everything()

        (answer,) = await world.store.apply([Atom((decided["a"], broken), (a_new_task("c"),))])

        assert answer.verdict is Verdict.BROKEN
        assert await world.everything() == before

    @pytest.mark.parametrize("field", ["wait_until", "order_at", "cancelled_at", "done_at"])
    async def test_a_time_is_absolute_or_relative_to_the_stores_clock(self, world: World, field: str) -> None:
        """Both forms are legal for every time that a patch may hold, into the past as well."""
        await world.add(*(a_new_task(letter) for letter in "abc"))
        await world.pass_time(SECOND)
        values = {"a": world.at(9000.5), "b": StoreNow(HOUR), "c": StoreNow(-HOUR)}

        for letter, value in values.items():
            guard = deletion(await world.record(letter))
            await world.verdict(Transition(Event.RESCHEDULE, guard, cast(Patch, {field: value})))

        raw = await world.everything()
        assert [getattr(raw[letter], field) for letter in "abc"] == [world.at(9000.5), world.at(3601), world.at(-3599)]

    async def test_an_atom_is_written_whole(self, world: World) -> None:
        """All transitions and inserts of an atom are applied together."""
        decided = await cancels(world, "ab")

        (answer,) = await world.store.apply([Atom(tuple(decided.values()), (a_new_task("c"), a_new_task("d")))])

        assert answer.verdict is Verdict.APPLIED
        assert [inserted.id for inserted in answer.inserted] == ["c", "d"]
        assert {task.id: task.outcome for task in (await world.everything()).values()} == {
            "a": Outcome.CANCELLED,
            "b": Outcome.CANCELLED,
            "c": None,
            "d": None,
        }

    @pytest.mark.parametrize("refused", ["a", "b", "c"])
    async def test_an_atom_is_refused_whole(self, world: World, refused: str) -> None:
        """One guard that does not hold voids all of its atom, and its record is shown."""
        decided = await cancels(world, "abc")
        decided[refused] = stale(decided[refused])
        before = await world.everything()

        (answer,) = await world.store.apply([Atom(tuple(decided.values()), (a_new_task("d"),))])

        assert (answer.verdict, answer.inserted) == (Verdict.CHANGED, ())
        assert answer.task == await world.record(refused)
        assert await world.everything() == before

    async def test_an_atom_with_a_missing_task_is_refused_whole(self, world: World) -> None:
        """A transition of a task that does not exist voids its atom."""
        decided = await cancels(world, "ab")
        await world.store.delete([deletion(await world.record("b"))])

        (answer,) = await world.store.apply([Atom((decided["a"], decided["b"]))])

        assert (answer.verdict, answer.task) == (Verdict.MISSING, None)
        assert (await world.raw("a")).outcome is None

    async def test_an_insert_of_an_id_that_exists_voids_nothing(self, world: World) -> None:
        """It is answered as `insert` would, and the atom is applied."""
        decided = await cancels(world, "ab")

        (answer,) = await world.store.apply([Atom((decided["a"],), (a_new_task("b", kind="letter"), a_new_task("c")))])

        assert answer.verdict is Verdict.APPLIED
        inserted = [(one.id, one.created, one.kind) for one in answer.inserted]
        assert inserted == [("b", False, "parcel"), ("c", True, "parcel")]

    @pytest.mark.parametrize("deletes", ["its own instance", "another"])
    async def test_an_atom_creates_an_id_that_was_deleted_while_it_was_held_here(
        self, world: World, deletes: str
    ) -> None:
        """A follow-up is created if its id is free, whatever the instance has seen of it before."""
        task = await world.take(a_new_task("a"), a_new_task("b"))
        deleting = world.store if deletes == "its own instance" else await world.another()
        assert list(await deleting.delete([deletion(await world.record("b"))])) == [Verdict.APPLIED]

        (answer,) = await world.store.apply([Atom((world.conclusion(task),), (a_new_task("b", created_by="now"),))])

        assert answer.verdict is Verdict.APPLIED
        assert [(one.created, one.created_by) for one in answer.inserted] == [(True, "now")]
        assert set(await world.everything()) == {"a", "b"}

    async def test_later_atoms_see_earlier_ones(self, world: World) -> None:
        """Two atoms for one task are judged one after the other."""
        decided = await cancels(world, "a")

        answers = await world.submit(decided["a"], decided["a"])

        assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.CHANGED]
        assert (await world.raw("a")).revision == 1

    async def test_a_repeated_settle_in_one_batch_is_recognised(self, world: World) -> None:
        """The second settle of a lease is a repeat of the first."""
        task = await world.take()

        answers = await world.submit(
            world.conclusion(task, Success('"first"')), world.conclusion(task, Success('"second"'))
        )

        assert [answer.verdict for answer in answers] == [Verdict.APPLIED, Verdict.ALREADY]
        assert (await world.raw("a")).result == '"first"'

    async def test_equal_inserts_of_two_atoms_create_one_task(self, world: World) -> None:
        """The first atom creates it, the second is told that it exists."""
        atoms = [Atom(inserts=(a_new_task("a", created_by=by),)) for by in ("first", "second")]

        answers = await world.store.apply(atoms)

        assert [(answer.inserted[0].created, answer.inserted[0].created_by) for answer in answers] == [
            (True, "first"),
            (False, "first"),
        ]

    async def test_a_large_batch_is_applied(self, world: World) -> None:
        """Three hundred atoms, every third refused, are answered and written each for itself."""
        await world.add(*(a_new_task(f"{n:03}") for n in range(300)))
        tasks = (await world.claim(limit=300)).tasks
        settles = [world.conclusion(task) for task in tasks]
        settles[::3] = [stale(settle) for settle in settles[::3]]

        answers = await world.submit(*settles)

        assert [answer.verdict for answer in answers] == [
            Verdict.CHANGED,
            Verdict.APPLIED,
            Verdict.APPLIED,
        ] * 100
        raw = await world.everything()
        assert [raw[f"{n:03}"].outcome for n in range(300)] == [
            None,
            Outcome.COMPLETED,
            Outcome.COMPLETED,
        ] * 100

    async def test_seats_are_right_after_a_batch(self, world: World) -> None:
        """A batch that ends several tasks of a key seats the one that is next in the end."""
        await world.add(*(keyed(letter) for letter in "abcd"))
        decided = [a_cancel(await world.record(letter)) for letter in "cab"]

        await world.submit(*decided)

        assert await world.seated(KEY) == {"d"}

    async def test_a_settle_and_a_follow_up_are_one_atom(self, world: World) -> None:
        """When the settle is refused, the task that was to follow is not created."""
        task = await world.take()
        follow_up = a_new_task("next")
        settle = Atom((world.conclusion(task),), (follow_up,))
        late = Atom((stale(world.conclusion(task)),), (a_new_task("never"),))

        answers = await world.store.apply([late, settle])

        assert [answer.verdict for answer in answers] == [Verdict.CHANGED, Verdict.APPLIED]
        assert set(await world.everything()) == {"a", "next"}

    async def test_two_transitions_of_one_task_in_an_atom(self, world: World) -> None:
        """The second is judged on what the first one wrote: decided on the same record, it voids the atom."""
        decided = await cancels(world, "a")

        (answer,) = await world.store.apply([Atom((decided["a"], decided["a"]))])

        assert answer.verdict is Verdict.CHANGED
        assert (await world.raw("a")).outcome is None
