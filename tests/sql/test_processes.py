"""Several processes, forks, threads and event loops on one file."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from oncetask_core.errors import StoreError
from oncetask_core.query import TaskFilter
from oncetask_sql import SqliteStore
from oncetask_sql.sqlite import store as store_module
from oncetask_sql.sqlite.location import Location
from tests.asynchronous import SOON, asynchronous, until
from tests.forked import in_child
from tests.sql.world import Space, a_claim, claimed_ids, new_task, settlement

DRAINER = """
import asyncio, sys
from pathlib import Path
from oncetask_sql import SqliteStore
from oncetask_sql.sqlite.location import Location
from tests.sql.world import a_claim, settlement

async def main(path, name):
    store = SqliteStore(Location(path=Path(path), synchronous="normal", busy_timeout=30.0))
    await store.open()
    done = []
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(10_000):
        tasks = (await store.claim(a_claim(f"{name} {number}", limit=3, group=2))).tasks
        answers = await store.apply([settlement(task) for task in tasks])
        done += [task.id for task, answer in zip(tasks, answers) if answer.verdict == "applied"]
        if not tasks and not await store.count_live():
            break
    await store.close()
    print(" ".join(done))

from oncetask_core.query import TaskFilter
SqliteStore.count_live = lambda self: self.count(TaskFilter(live=True))
asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_share_the_work(space: Space) -> None:
    """Every task is settled by exactly one of several processes, keyed ones included."""
    space.prepare()
    space.fill(300, 0, lambda number: new_task(f"t{number}", key=f"k{number % 7}" if number % 2 else None))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DRAINER, str(space.path), f"process {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    shares = [process.communicate(timeout=100)[0].split() for process in processes]

    assert sorted(task_id for share in shares for task_id in share) == sorted(f"t{number}" for number in range(300))
    assert space.run("SELECT count(*) FROM oncetask_task WHERE outcome = 'completed'") == [(300,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
class TestForks:
    """A store that was used before a fork."""

    def test_a_child_and_its_parent_go_on_independently(self, space: Space) -> None:
        """Both write, neither touches the other's connections, and the file stays sound."""

        async def parent(store: SqliteStore) -> None:
            await store.open()
            await store.insert([new_task("before"), new_task("for the child")])

            async def child() -> None:
                assert await claimed_ids(store, "child", limit=1) == ["before"]
                await store.insert([new_task("of the child")])
                await store.close()
                await store.open()
                assert await store.count(TaskFilter()) == 3

            code = await asyncio.to_thread(in_child, child)
            assert code == 0
            assert await claimed_ids(store, "parent") == ["for the child", "of the child"]
            await store.insert([new_task("after")])
            await store.close()

        asyncio.run(parent(SqliteStore(space.location)))

        assert space.run("SELECT count(*) FROM oncetask_task") == [(4,)]
        assert space.run("PRAGMA integrity_check") == [("ok",)]

    def test_a_child_that_ends_leaves_the_parents_log(self, space: Space) -> None:
        """What the parent committed but the log alone holds survives the end of an idle child."""

        async def parent(store: SqliteStore) -> None:
            await store.open()
            await store.insert([new_task("a")])

            async def child() -> None:
                gc.collect()

            assert in_child(child) == 0
            assert (space.path.parent / "tasks.db-wal").stat().st_size > 0
            assert await store.count(TaskFilter()) == 1
            await store.close()

        asyncio.run(parent(SqliteStore(space.location)))

    def test_forking_in_the_middle_of_writes_blocks_nobody(self, space: Space) -> None:
        """Children that are forked while other threads are inside SQLite can use it all the same."""

        async def parent(store: SqliteStore) -> None:
            await store.open()
            stop = threading.Event()
            writing = asyncio.create_task(_write_until(store, stop))

            async def child() -> None:
                await store.insert([new_task(f"child {os.getpid()}")])

            codes = [await asyncio.to_thread(in_child, child) for _ in range(20)]
            stop.set()
            await writing
            assert codes == [0] * 20
            await store.close()

        asyncio.run(parent(SqliteStore(space.patient)))

        assert space.run("SELECT count(*) FROM oncetask_task WHERE id LIKE 'child%'") == [(20,)]


async def _write_until(store: SqliteStore, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await store.insert([new_task(f"parent {number}")])
        claimed = await store.claim(a_claim(f"lease {number}"))
        await store.apply([settlement(task) for task in claimed.tasks])


class TestThreads:
    """Event loops, threads and instances of one process."""

    @asynchronous
    async def test_a_repeated_claim_is_recognised_before_the_file_is_locked(self, space: Space) -> None:
        """An instance that found nothing before looks first, and sees what the lease got through another one."""
        async with space.opened() as idle, space.opened() as busy:
            assert await claimed_ids(idle, "lease 0") == []
            await busy.insert([new_task("a"), new_task("b")])
            assert await claimed_ids(busy, "lease 1", limit=1) == ["a"]

            with space.connected() as other:
                other.execute("BEGIN IMMEDIATE")
                assert await claimed_ids(idle, "lease 1") == ["a"]

    def test_a_store_outlives_the_loop_that_opened_it(self, space: Space) -> None:
        """Each call may come from another event loop."""
        store = SqliteStore(space.location)
        asyncio.run(store.open())
        asyncio.run(_insert(store, "a"))
        found = asyncio.run(store.get(["a"])).tasks
        asyncio.run(store.close())

        assert set(found) == {"a"}

    def test_closing_ends_the_threads(self, space: Space) -> None:
        """Neither threads nor open files are left behind; closing again does nothing."""
        before = set(threading.enumerate())

        async def use() -> None:
            async with space.opened() as store:
                await store.insert([new_task("a")])
                await store.claim(a_claim("lease 1"))
                await store.renew({"lease 1": None})
                await store.close()

        asyncio.run(use())

        _until(lambda: set(threading.enumerate()) <= before)
        assert not (space.path.parent / "tasks.db-wal").exists()

    def test_a_store_that_is_forgotten_ends_its_threads(self, space: Space) -> None:
        """Who drops a store without closing it keeps no threads."""
        before = set(threading.enumerate())
        store = SqliteStore(space.location)
        asyncio.run(store.open())
        asyncio.run(_insert(store, "a"))
        assert {thread.name for thread in threading.enumerate()} >= {"oncetask-sqlite-writer"}
        del store
        gc.collect()

        _until(lambda: set(threading.enumerate()) <= before)

    @asynchronous
    async def test_what_was_asked_before_closing_is_done(self, space: Space) -> None:
        """Closing waits for the calls that are on their way."""
        store = SqliteStore(space.location)
        await store.open()
        inserts = [asyncio.create_task(store.insert([new_task(str(number))])) for number in range(20)]
        await asyncio.sleep(0)
        await store.close()

        answers = [answer for insert in inserts for answer in await insert]
        assert [answer.created for answer in answers] == [True] * 20
        assert space.run("SELECT count(*) FROM oncetask_task") == [(20,)]

    @asynchronous
    async def test_a_closing_that_nobody_waits_for_any_more_is_done(
        self, space: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The thread ends after what it is at, and nothing fails in it."""
        failures: list[threading.ExceptHookArgs] = []
        monkeypatch.setattr(threading, "excepthook", failures.append)
        begun, release = threading.Event(), threading.Event()

        def stay(_: object) -> None:
            begun.set()
            release.wait(SOON)

        before = set(threading.enumerate())
        store = SqliteStore(space.location)
        await store.open()
        store._connections().writer.read(stay)
        await until(begun.is_set)
        (lane,) = {thread for thread in set(threading.enumerate()) - before if "sqlite" in thread.name}
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        release.set()
        await asyncio.to_thread(lane.join)

        assert closing.cancelled()
        assert failures == []

    def test_a_call_that_meets_the_closing_is_refused_and_leaves_nothing(
        self, space: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another thread closes the store while the call makes its connections."""
        store = SqliteStore(space.location)
        asyncio.run(store.open())

        class Closed(store_module._Lanes):
            def __init__(self, location: Location) -> None:
                super().__init__(location)
                closing = threading.Thread(target=asyncio.run, args=(store.close(),))
                closing.start()
                closing.join()

        monkeypatch.setattr(store_module, "_Lanes", Closed)

        with pytest.raises(StoreError, match=r"open\(\)"):
            asyncio.run(store.now())
        assert store._lanes == {}


async def _insert(store: SqliteStore, task_id: str) -> None:
    await store.insert([new_task(task_id)])


def _until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread is about to do."""
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        with contextlib.suppress(InterruptedError):
            time.sleep(0.001)
