"""Processes that hear of each other, and schemas of one database."""

import asyncio

from oncetask import OnceTask, TaskManager
from tests.asynchronous import SOON, asynchronous
from tests.postgresql.world import Schemas, connected, connections, named, needs_server, opened, schema_of
from tests.sql.world import new_task
from tests.worker.world import Job

pytestmark = needs_server


@asynchronous
async def test_a_worker_takes_up_what_another_process_creates_long_before_its_next_poll(schemas: Schemas) -> None:
    """It hears of it."""
    url = named(schemas.new())
    worker, creator = TaskManager(url, poll_interval=60), TaskManager(url)
    started = asyncio.Event()

    @worker.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        started.set()

    async with worker.running():
        while not connections(url, "query LIKE 'LISTEN%%' AND state = 'idle'"):  # noqa: ASYNC110 - the server alone knows when it listens
            await asyncio.sleep(0.01)
        await creator.create_task(Job("a"))
        async with asyncio.timeout(SOON):
            await started.wait()
    await creator.close()
    await worker.close()


@asynchronous
async def test_a_store_does_not_wake_itself(schemas: Schemas) -> None:
    """Its own creations reach its worker without a detour."""
    async with opened(schemas.new()) as ours:
        await ours.changed()
        await ours.insert([new_task("a")])
        waiting = asyncio.ensure_future(ours.changed())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    assert not done


def test_the_schema_of_a_url_is_the_one_that_is_used(schemas: Schemas) -> None:
    """Rows lie where the URL says."""
    url = schemas.new()

    async def fill() -> None:
        async with opened(url) as store:
            await store.insert([new_task("a")])

    asyncio.run(fill())
    with connected() as connection:
        rows = connection.execute(f"SELECT id FROM {schema_of(url)}.oncetask_task".encode()).fetchall()

    assert rows == [("a",)]
