"""Control records: small versioned values by name, beside the tasks."""

import asyncio

import pytest

from oncetask_conformance.suite.inserting import DISTINCT
from oncetask_conformance.world import World
from oncetask_core.store import ControlRecord

VALUES = {
    "an object": '{"paused":true,"since":"2030-01-01T00:00:00Z"}',
    "null": "null",
    "an empty string": '""',
    "spaces between": '{ "a" : 1 }',
    "other scripts": '"Zürich 東京 🚚"',
    "quotes": '"it\'s a \\"test\\" -- %s ; {}"',
    "64 kB": '"' + "x" * 65_000 + '"',
}
NAMES = ["pause/letter", "a b", "Zürich/東京", "100%_sure", "it's", "x" * 128]


class ControlRecordsTests:
    """What `write_control` keeps and `read_control` returns."""

    async def test_a_record_is_read_as_it_was_written(self, world: World) -> None:
        """The first write makes revision 1."""
        assert await world.store.write_control("pause/letter", '{"paused":true}') is True

        expected = ControlRecord(name="pause/letter", value='{"paused":true}', revision=1)
        assert dict(await world.store.read_control()) == {"pause/letter": expected}

    @pytest.mark.parametrize("what", VALUES)
    async def test_the_value_is_kept_character_by_character(self, world: World, what: str) -> None:
        """A store does not read, reorder or reformat the value."""
        await world.store.write_control("a", VALUES[what])

        assert (await world.store.read_control())["a"].value == VALUES[what]

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_record_is_found_by_its_very_name(self, world: World, name: str) -> None:
        """Names of all sorts are kept, and are prefixes of themselves."""
        await world.store.write_control(name, "1")

        assert list(await world.store.read_control(name)) == [name]

    @pytest.mark.parametrize("difference", DISTINCT)
    async def test_names_are_compared_byte_by_byte(self, world: World, difference: str) -> None:
        """Names that merely look alike are two records."""
        one, other = DISTINCT[difference]

        await world.store.write_control(one, "1")
        await world.store.write_control(other, "2")

        records = await world.store.read_control()
        assert {name: record.value for name, record in records.items()} == {one: "1", other: "2"}

    async def test_revisions_rise_with_each_write(self, world: World) -> None:
        """Every write of a record makes a higher revision, also when the value stays the same."""
        revisions = []
        for value in ("1", "2", "2"):
            await world.store.write_control("a", value)
            revisions.append((await world.store.read_control())["a"].revision)

        assert revisions[0] == 1
        assert revisions == sorted(set(revisions))

    async def test_a_revision_never_comes_back(self, world: World) -> None:
        """A record that is removed and written anew is not taken for the one that was read before."""
        await world.store.write_control("a", "1")
        read = (await world.store.read_control())["a"].revision
        await world.store.write_control("a", None)
        await world.store.write_control("a", "2")

        assert await world.store.write_control("a", "3", if_revision=read) is False
        assert (await world.store.read_control())["a"].value == "2"

    async def test_a_blind_write_replaces_the_value(self, world: World) -> None:
        """Without a condition the last write stays."""
        await world.store.write_control("a", "1")

        assert await world.store.write_control("a", "2") is True
        assert (await world.store.read_control())["a"].value == "2"

    async def test_a_write_over_the_revision_that_was_read_is_done(self, world: World) -> None:
        """Who names the current revision replaces it."""
        await world.store.write_control("a", "1")
        revision = (await world.store.read_control())["a"].revision

        assert await world.store.write_control("a", "2", if_revision=revision) is True
        assert (await world.store.read_control())["a"].value == "2"

    async def test_a_write_over_a_stale_revision_is_not_done(self, world: World) -> None:
        """Who read an earlier revision changes nothing."""
        await world.store.write_control("a", "1")
        stale = (await world.store.read_control())["a"].revision
        await world.store.write_control("a", "2")
        before = dict(await world.store.read_control())

        assert await world.store.write_control("a", "3", if_revision=stale) is False
        assert dict(await world.store.read_control()) == before

    async def test_a_write_over_a_revision_to_come_is_not_done(self, world: World) -> None:
        """A revision that nobody wrote yet matches nothing."""
        await world.store.write_control("a", "1")

        assert await world.store.write_control("a", "2", if_revision=2) is False
        assert await world.store.write_control("b", "2", if_revision=1) is False
        assert {name: record.value for name, record in (await world.store.read_control()).items()} == {"a": "1"}

    async def test_a_first_write_is_done_where_nothing_is(self, world: World) -> None:
        """Revision 0 means that there is no such record."""
        assert await world.store.write_control("a", "1", if_revision=0) is True
        assert (await world.store.read_control())["a"].revision == 1

    async def test_a_first_write_is_not_done_over_a_record(self, world: World) -> None:
        """Who expects nothing overwrites nothing."""
        await world.store.write_control("a", "1")

        assert await world.store.write_control("a", "2", if_revision=0) is False
        assert (await world.store.read_control())["a"].value == "1"

    async def test_of_many_first_writers_one_is_told_that_it_was_done(self, world: World) -> None:
        """Of concurrent conditional writes exactly one is done, and its value stays."""
        stores = [world.store, *[await world.another() for _ in range(3)]]

        done = await asyncio.gather(
            *(store.write_control("a", str(n), if_revision=0) for n, store in enumerate(stores))
        )

        assert [str(n) for n, was_done in enumerate(done) if was_done] == [
            (await world.store.read_control())["a"].value
        ]

    async def test_a_record_is_removed(self, world: World) -> None:
        """After its removal a record is not read any more, and its neighbours are."""
        await world.store.write_control("a", "1")
        await world.store.write_control("b", "1")

        assert await world.store.write_control("a", None) is True
        assert set(await world.store.read_control()) == {"b"}

    async def test_a_removal_at_the_revision_that_was_read_is_done(self, world: World) -> None:
        """Who names the current revision may remove it."""
        await world.store.write_control("a", "1")

        assert await world.store.write_control("a", None, if_revision=1) is True
        assert dict(await world.store.read_control()) == {}

    async def test_a_removal_at_a_stale_revision_is_not_done(self, world: World) -> None:
        """Who read an earlier revision removes nothing."""
        await world.store.write_control("a", "1")
        await world.store.write_control("a", "2")

        assert await world.store.write_control("a", None, if_revision=1) is False
        assert set(await world.store.read_control()) == {"a"}

    async def test_after_a_removal_there_is_no_record(self, world: World) -> None:
        """A record may be written for the first time again."""
        await world.store.write_control("a", "1")
        await world.store.write_control("a", None)

        assert await world.store.write_control("a", "2", if_revision=0) is True
        assert (await world.store.read_control())["a"].value == "2"

    async def test_a_prefix_chooses_the_names_that_begin_with_it(self, world: World) -> None:
        """Only the beginning of the name counts."""
        for name in ("pause/a", "pause/b", "pausea", "worker/pause/", "pause"):
            await world.store.write_control(name, "1")

        assert set(await world.store.read_control("pause/")) == {"pause/a", "pause/b"}
        assert set(await world.store.read_control("pause")) == {"pause/a", "pause/b", "pausea", "pause"}

    @pytest.mark.parametrize("prefix", ["%", "_", "*", "?", "[p]", "\\", "P"])
    async def test_a_prefix_is_no_pattern(self, world: World, prefix: str) -> None:
        """Characters that a query language reads as patterns stand for themselves, and case matters."""
        for name in ("pause", "xause", f"{prefix}pause"):
            await world.store.write_control(name, "1")

        assert set(await world.store.read_control(prefix)) == {f"{prefix}pause"}

    async def test_without_a_prefix_all_are_read(self, world: World) -> None:
        """The empty prefix is the beginning of every name."""
        for name in ("b", "a", "Z"):
            await world.store.write_control(name, "1")

        assert set(await world.store.read_control()) == {"a", "b", "Z"}

    async def test_nothing_is_read_where_nothing_is(self, world: World) -> None:
        """An unknown prefix has no records."""
        await world.store.write_control("a", "1")

        assert dict(await world.store.read_control("b")) == {}

    async def test_every_instance_reads_the_same(self, world: World) -> None:
        """What one instance wrote, every other instance reads."""
        await world.store.write_control("a", "1")
        other = await world.another()

        assert dict(await other.read_control()) == dict(await world.store.read_control())

    async def test_many_records_are_read_at_once(self, world: World) -> None:
        """Five hundred records come by one call."""
        for number in range(500):
            await world.store.write_control(f"worker/{number}", str(number))

        records = await world.store.read_control("worker/")

        assert {record.value for record in records.values()} == {str(number) for number in range(500)}

    async def test_records_are_no_tasks(self, world: World) -> None:
        """Control records appear in no listing of tasks."""
        await world.store.write_control("a", "1")

        assert await world.everything() == {}
        assert dict((await world.store.get(["a"])).tasks) == {}
