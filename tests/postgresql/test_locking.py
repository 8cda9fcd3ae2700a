"""Locks on keys and on claims, which are advisory here: who waits for them, and for how long."""

import asyncio

import pytest

from oncetask_sql.postgresql import seating
from oncetask_sql.postgresql.connecting import LOCK_MILLISECONDS
from oncetask_sql.postgresql.location import located
from tests.asynchronous import SOON, asynchronous, until
from tests.postgresql.world import Schemas, a_transaction, all_stripes, connected, needs_server, opened
from tests.sql.world import a_claim, new_task

pytestmark = needs_server


@asynchronous
async def test_keys_are_waited_for_while_somebody_commits_slowly(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create of the same key waits for longer than for a row, and succeeds."""
    url = schemas.new()
    longer = seating._BE_PATIENT.replace(seating.PATIENCE, f"{SOON} s")  # a slow machine takes its time to look at it
    monkeypatch.setattr(seating, "_BE_PATIENT", longer)
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


@pytest.mark.usefixtures("slow_motion", "no_upkeep")
@asynchronous
async def test_a_repeated_claim_waits_while_its_first_request_commits_slowly(schemas: Schemas) -> None:
    """For longer than for a row: an error would cost the worker its connection, and a pause in its polls."""
    url = schemas.new()
    async with opened(url) as store:
        await store.insert([new_task("a")])
        with a_transaction(url) as first:
            turn = f"SELECT pg_advisory_xact_lock({located(url).names.lock_space ^ 1}, hashtext('lease'))"
            first.execute(turn.encode())
            lane = store._loops.here()["claims"]
            claiming = asyncio.create_task(store.claim(a_claim("lease")))
            await until(lambda: claiming.done() or (lane._session is not None and lane._session.round_trips > 1))
            first.rollback()
        claimed = await claiming

    assert [task.id for task in claimed.tasks] == ["a"]
