"""Keys whose seats somebody is giving for long."""

import asyncio

from tests.asynchronous import SOON, asynchronous
from tests.servers.world import Place, locking
from tests.sql.world import a_claim, new_task, settlement


@asynchronous
async def test_keys_that_somebody_is_seating_for_long_make_no_claim_fail(place: Place) -> None:
    """What was noted stays noted, other tasks are claimed, and a later claim finds the key seated."""
    async with place.opened() as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k"), new_task("c")])
        (task, *_) = (await store.claim(a_claim("lease", limit=1))).tasks
        with locking(place, "b"):
            await store.apply([settlement(task)])
        with place.seating():
            async with place.opened() as another, asyncio.timeout(SOON):
                during = await another.claim(a_claim("lease 2"))
        async with place.opened() as another:
            later = await another.claim(a_claim("lease 3"))

    assert [task.id for task in during.tasks] == ["c"]
    assert [task.id for task in later.tasks] == ["b"]
