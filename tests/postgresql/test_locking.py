"""Locks on keys, which are advisory here: who waits for them, and for how long."""

import asyncio

from oncetask_sql.postgresql.connecting import LOCK_MILLISECONDS
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import Schemas, a_transaction, all_stripes, connected, needs_server, opened
from tests.sql.world import new_task

pytestmark = needs_server


@asynchronous
async def test_keys_are_waited_for_while_somebody_commits_slowly(schemas: Schemas) -> None:
    """A create of the same key waits for longer than for a row, and succeeds."""
    url = schemas.new()
    async with opened(url) as store:
        with a_transaction(url) as other:
            other.execute(all_stripes(url).encode())
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
