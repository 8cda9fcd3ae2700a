"""Rows that cannot be read: they are told about, set aside, and hold up nobody."""

import pytest

from oncetask_core.decisions import cancel
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.transition import Atom, Verdict
from tests.asynchronous import asynchronous
from tests.sql.world import Space, a_claim, claimed_ids, new_task, settle

DAMAGE = {
    "half a document": "errors = '[{'",
    "an impossible time": "created_at = 4611686018427387904",
    "an unknown outcome that looks live": "settled_by = 'x'",
    "a text that is no UTF-8": "queue = CAST(x'ff41' AS TEXT)",
    "a binary payload": "payload = x'00ff'",
}


class TestDamagedRows:
    """What becomes of a row that no version of the library has written."""

    @pytest.mark.parametrize("what", DAMAGE)
    @asynchronous
    async def test_a_claim_sets_a_damaged_row_aside_and_goes_on(self, space: Space, what: str) -> None:
        """The same call takes the tasks behind it, and the reason is kept in the row."""
        async with space.opened() as store:
            await store.insert([new_task(task_id) for task_id in "abc"])
            space.run(f"UPDATE oncetask_task SET {DAMAGE[what]} WHERE id = 'a'")

            claimed = await store.claim(a_claim("lease 1", limit=2))

            assert [task.id for task in claimed.tasks] == ["b", "c"]
            assert list(claimed.unreadable) == ["a"]
            assert space.run("SELECT quarantined FROM oncetask_task WHERE id = 'a'") == [(claimed.unreadable["a"],)]
            again = await store.claim(a_claim("lease 2"))
            assert (list(again.tasks), dict(again.unreadable)) == ([], {})
            assert dict((await store.get(["a"])).unreadable) == dict(claimed.unreadable)
            assert dict((await store.find(TaskQuery())).unreadable) == dict(claimed.unreadable)
            assert await store.count(TaskFilter()) == 2

    @asynchronous
    async def test_a_damaged_head_gives_its_seat_to_the_next(self, space: Space) -> None:
        """The key goes on in the same call, with the whole group behind the damaged head."""
        async with space.opened() as store:
            await store.insert([new_task(task_id, key="k") for task_id in "abc"])
            space.run("UPDATE oncetask_task SET headers = '[]' WHERE id = 'a'")

            assert await claimed_ids(store, "lease 1", group=5) == ["b", "c"]
            assert space.run("SELECT id, head_key FROM oncetask_task ORDER BY id") == [
                ("a", None),
                ("b", "k"),
                ("c", None),
            ]

    @asynchronous
    async def test_a_damaged_successor_does_not_join(self, space: Space) -> None:
        """A group passes over a row of its key that cannot be read."""
        async with space.opened() as store:
            await store.insert([new_task(task_id, key="k") for task_id in "abc"])
            space.run("UPDATE oncetask_task SET headers = '[]' WHERE id = 'b'")

            claimed = await store.claim(a_claim("lease 1", group=5))

            assert ([task.id for task in claimed.tasks], list(claimed.unreadable)) == (["a", "c"], ["b"])

    @asynchronous
    async def test_a_damaged_suspect_lets_the_next_one_run(self, space: Space) -> None:
        """Claims for suspects set it aside as well."""
        async with space.opened() as store:
            await store.insert([new_task("a"), new_task("b")])
            space.run("UPDATE oncetask_task SET crashes = 1")
            space.run("UPDATE oncetask_task SET headers = '[]' WHERE id = 'a'")

            claimed = await store.claim(a_claim("lease 1", suspects=True))

            assert ([task.id for task in claimed.tasks], list(claimed.unreadable)) == (["b"], ["a"])

    @asynchronous
    async def test_a_key_that_is_damaged_itself_stops_nothing(self, space: Space) -> None:
        """Its row is set aside though the key cannot even be looked for."""
        async with space.opened() as store:
            await store.insert([new_task("a", key="k"), new_task("b")])
            space.run(
                "UPDATE oncetask_task SET resource_key = CAST(x'ff' AS TEXT), head_key = CAST(x'ff' AS TEXT) "
                "WHERE id = 'a'"
            )

            assert await claimed_ids(store, "lease 1") == ["b"]

    @asynchronous
    async def test_a_repeated_claim_tells_what_became_unreadable(self, space: Space) -> None:
        """What the lease holds and can be read is returned; the rest is named."""
        async with space.opened() as store:
            await store.insert([new_task("a"), new_task("b")])
            await store.claim(a_claim("lease 1"))
            space.run("UPDATE oncetask_task SET headers = '[]' WHERE id = 'a'")

            claimed = await store.claim(a_claim("lease 1"))

            assert ([task.id for task in claimed.tasks], list(claimed.unreadable)) == (["b"], ["a"])

    @asynchronous
    async def test_a_holder_can_settle_a_row_that_became_unreadable(self, space: Space) -> None:
        """The guards need no other field, so the holder's report is kept."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            (task,) = (await store.claim(a_claim("lease 1"))).tasks
            space.run("UPDATE oncetask_task SET headers = '[]' WHERE id = 'a'")

            assert await settle(store, task) is Verdict.APPLIED
            assert space.run("SELECT outcome FROM oncetask_task") == [("completed",)]

    @asynchronous
    async def test_a_refused_write_of_an_unreadable_row_is_broken(self, space: Space) -> None:
        """What cannot be judged is not applied, and says why."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            task = (await store.get(["a"])).tasks["a"]
            space.run("UPDATE oncetask_task SET headers = '[]', revision = 5 WHERE id = 'a'")
            transition = cancel(task, has_cleanup=False)
            assert transition is not None

            alone, whole = await store.apply([Atom((transition,)), Atom((transition,), (new_task("b"),))])

            assert (alone.verdict, whole.verdict) == (Verdict.BROKEN, Verdict.BROKEN)
            assert "headers" in str(alone.error) or "array" in str(alone.error)
            assert set((await store.get(["a", "b"])).tasks) == set()

    @asynchronous
    async def test_a_repaired_row_is_claimed_again(self, space: Space) -> None:
        """Whoever mends the row and takes the mark away has a task as before."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            space.run("UPDATE oncetask_task SET headers = '[]'")
            await store.claim(a_claim("lease 1"))
            space.run("UPDATE oncetask_task SET headers = '{}', quarantined = NULL")

            assert await claimed_ids(store, "lease 2") == ["a"]
