"""A server that crashes in the middle, and one that is not up yet."""

import asyncio
from collections.abc import Iterator

import pytest

from oncetask import OnceTask, TaskManager
from oncetask_sql.__main__ import main
from tests.asynchronous import asynchronous
from tests.mariadb.world import needs_server as needs_mariadb
from tests.postgresql.world import needs_server as needs_postgresql
from tests.worker.world import Job, Keyed, until_all_have_ended
from tools.servers import Server, running_mariadb, running_postgresql

ENOUGH = 60.0
SERVERS = [
    pytest.param(running_postgresql, id="postgresql", marks=needs_postgresql),
    pytest.param(running_mariadb, id="mariadb", marks=needs_mariadb),
]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Return a server of the test's own, with the tables made."""
    with request.param(own=True) as own:
        assert main(["migrate", own.url]) == 0
        yield own


@asynchronous
async def test_work_goes_on_after_an_immediate_restart(server: Server) -> None:
    """Every task is completed once, whatever the crash has cut."""
    manager = TaskManager(server.url, poll_interval=0.1)
    runs: dict[str, int] = {}
    completed: list[str] = []

    @manager.task_handler(Job, concurrency=5, lease_duration=10)
    async def handle(task: OnceTask[Job]) -> None:
        runs[task.id] = runs.get(task.id, 0) + 1
        await asyncio.sleep(0.01)  # work, so that a restart meets runs in their middle

    manager.register_task_handler(Keyed, lambda task: None, concurrency=5, lease_duration=10)
    manager.on_event(lambda event: completed.append(event.task_id) if event.name.value == "completed" else None)
    await manager.create_tasks([Job(f"j{number}") for number in range(200)])
    await manager.create_tasks([Keyed(f"k{number}", f"key{number % 3}") for number in range(60)])
    async with manager.running():
        for goal in (20, 40, 60):
            async with asyncio.timeout(ENOUGH):
                while len(completed) < goal:  # noqa: ASYNC110 - a look at what the worker's events say
                    await asyncio.sleep(0.005)
            assert len(completed) < 200
            await asyncio.to_thread(server.restart, immediate=True)
        await until_all_have_ended(manager, seconds=ENOUGH)
    await manager.close()

    assert set(runs) == {f"j{number}" for number in range(200)}
    assert len(completed) == len(set(completed)) == 260


@asynchronous
async def test_a_connection_that_the_server_has_ended_is_replaced_before_anybody_notices(server: Server) -> None:
    """A process that was idle over a restart reads and creates as before."""
    manager = TaskManager(server.url)
    assert await manager.count_tasks() == 0
    assert await manager.create_task(Job("a"))
    await asyncio.to_thread(server.restart, immediate=True)

    assert await manager.count_tasks() == 1
    assert await manager.create_task(Job("b"))
    await manager.close()


@asynchronous
async def test_a_server_that_is_down_at_the_start_is_waited_for(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts with the server, and no error ends it."""
    await asyncio.to_thread(server.stop)
    manager = TaskManager(server.url)
    done = asyncio.Event()

    @manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> None:
        done.set()

    running = asyncio.create_task(manager.run(handle_signals=False))
    async with asyncio.timeout(ENOUGH):
        while "the store is not there yet" not in caplog.text:  # noqa: ASYNC110 - a look at what the worker logs
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
        await manager.create_task(Job("a"))
        await done.wait()
    manager.stop()
    await running
    await manager.close()
