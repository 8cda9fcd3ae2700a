"""Locks on keys, which are advisory here: who waits for them, and for how long."""

import asyncio

from oncetask_sql.postgresql.connecting import LOCK_MILLISECONDS
from oncetask_sql.postgresql.location import located
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import Schemas, a_transaction, connected, needs_server, opened
from tests.sql.world import a_claim, new_task, settlement

pytestmark = needs_server

LOCK = "SELECT 1 FROM oncetask_task WHERE id = %s FOR UPDATE"


@asynchronous
async def test_keys_that_somebody_is_seating_for_long_make_no_claim_fail(schemas: Schemas) -> None:
    """What was noted stays noted, other tasks are claimed, and a later claim finds the key seated."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task("a", key="k"), new_task("b", key="k"), new_task("c")])
        (task, *_) = (await store.claim(a_claim("lease", limit=1))).tasks
        with a_transaction(url) as other:
            other.execute(LOCK, ("b",))
            await store.apply([settlement(task)])
        with a_transaction(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s, n) FROM generate_series(0, 255) AS n", (space_of(url),))
            async with opened(url) as another:
                during = await another.claim(a_claim("lease 2"))
        async with opened(url) as another:
            later = await another.claim(a_claim("lease 3"))

    assert [task.id for task in during.tasks] == ["c"]
    assert [task.id for task in later.tasks] == ["b"]


@asynchronous
async def test_keys_are_waited_for_while_somebody_commits_slowly(schemas: Schemas) -> None:
    """A create of the same key waits for longer than for a row, and succeeds."""
    url = schemas.new()
    async with opened(url) as store:
        with a_transaction(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s, n) FROM generate_series(0, 255) AS n", (space_of(url),))
            creating = asyncio.create_task(store.insert([new_task("a", key="k")]))
            async with asyncio.timeout(SOON):
                while not (creating.done() or waits_long()):  # noqa: ASYNC110 - the server alone knows who waits
                    await asyncio.sleep(0.01)
            other.rollback()
        answers = await creating

    assert [answer.created for answer in answers] == [True]


def waits_long() -> bool:
    """Return whether somebody has waited for a key four times as long as for a row."""
    query = """SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
        AND application_name = 'oncetask creates' AND clock_timestamp() - query_start > %s * interval '1 ms'"""
    with connected() as connection:
        row = connection.execute(query, (4 * LOCK_MILLISECONDS,)).fetchone()
    return bool(row and row[0])


def space_of(url: str) -> int:
    """Return the first half of the numbers of the locks on keys."""
    return located(url).names.lock_space
