"""What the tests of the Go library ask of handlers, contexts, log records, resets and environments, asked of ours."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from oncetask import (
    ExponentialBackoffPolicy,
    FixedDelayPolicy,
    MemoryStore,
    NoRetryPolicy,
    OnceTask,
    Outcome,
    TaskContextFilter,
    TaskManager,
    TaskStatus,
    get_current_task_id,
    get_current_task_resource_key,
)
from oncetask_memory import Space
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World

LOGGER = logging.getLogger("tests.handlers")
CALLER: ContextVar[str] = ContextVar("caller", default="nobody")
Seen = list[tuple[str | None, str | None]]


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """Collect the records of `LOGGER` behind a `TaskContextFilter`."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.addFilter(TaskContextFilter())
    handler.emit = records.append  # type: ignore[method-assign,assignment] # all that a handler has to do here
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield records
    finally:
        LOGGER.removeHandler(handler)


def annotations(record: logging.LogRecord) -> dict[str, object]:
    """Return what the filter adds to a record."""
    return {name: record.__dict__[name] for name in ("task_id", "task_kind", "resource_key", "attempt")}


def test_a_record_outside_of_handlers_names_no_task() -> None:
    """It passes, with every annotation empty."""
    with logged() as records:
        LOGGER.info("outside")

    (record,) = records
    assert record.getMessage() == "outside"
    assert annotations(record) == {"task_id": None, "task_kind": None, "resource_key": None, "attempt": None}


@asynchronous
async def test_a_record_of_a_keyless_task_names_the_task_alone() -> None:
    """There is no key to name."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: LOGGER.info("inside"))
    await world.manager.create_task(Job("a"))
    with logged() as records:
        await world.manager.drain()

    assert [annotations(record) for record in records] == [
        {"task_id": "a", "task_kind": "job", "resource_key": None, "attempt": 1}
    ]


@asynchronous
async def test_a_record_of_a_keyed_task_names_both() -> None:
    """Task and key, and which attempt it is."""
    world = World()

    @world.manager.task_handler(Keyed, retry_policy=FixedDelayPolicy(max_attempts=2))
    async def handle(task: OnceTask[Keyed]) -> None:
        LOGGER.info("inside")
        if task.attempts == 1:
            raise ValueError("once more")

    await world.manager.create_task(Keyed("a", "van"))
    with logged() as records:
        await world.manager.drain()

    assert [annotations(record) for record in records] == [
        {"task_id": "a", "task_kind": "keyed", "resource_key": "van", "attempt": attempt} for attempt in (1, 2)
    ]


@asynchronous
async def test_a_record_of_a_group_names_the_key_alone() -> None:
    """No member speaks for the others."""
    world = World()
    world.manager.register_resource_key_handler(Keyed, lambda tasks: LOGGER.info("inside"))
    await world.manager.create_tasks([Keyed("a", "van"), Keyed("b", "van")])
    with logged() as records:
        await world.manager.drain()

    assert [(record.__dict__["task_id"], record.__dict__["resource_key"]) for record in records] == [(None, "van")]


@asynchronous
async def test_a_record_keeps_what_it_brings_along() -> None:
    """Attributes of the caller survive, also under the names of the annotations."""
    world = World()
    adapter = logging.LoggerAdapter(LOGGER, {"service": "mail", "task_id": "chosen"})
    world.manager.register_task_handler(Job, lambda task: adapter.info("inside %s", "x"))
    await world.manager.create_task(Job("a"))
    with logged() as records:
        await world.manager.drain()

    (record,) = records
    assert (record.__dict__["service"], record.__dict__["task_id"]) == ("mail", "chosen")
    assert record.__dict__["task_kind"] == "job"
    assert record.getMessage() == "inside x"


def current() -> tuple[str | None, str | None]:
    """Return what the accessors say here."""
    return get_current_task_id(), get_current_task_resource_key()


@asynchronous
async def test_nothing_is_current_outside_of_handlers() -> None:
    """Neither before nor after a task ran."""
    world = World()
    world.manager.register_task_handler(Keyed, lambda task: None)
    await world.manager.create_task(Keyed("a"))
    before = current()
    await world.manager.drain()

    assert before == current() == (None, None)


@pytest.mark.parametrize(
    ("payload", "expected"), [(Job("a"), ("a", None)), (Keyed("a", "van"), ("a", "van")), (Keyed("a", ""), ("a", None))]
)
@pytest.mark.parametrize("threaded", [True, False])
def test_a_single_handler_knows_task_and_key(
    payload: Job | Keyed, expected: tuple[str | None, str | None], *, threaded: bool
) -> None:
    """On the loop and on a thread; a task without a key has none there either."""

    @asynchronous
    async def check() -> None:
        world = World()
        seen: Seen = []

        def plain(task: OnceTask[object]) -> None:
            seen.append(current())

        async def coroutine(task: OnceTask[object]) -> None:
            seen.append(current())

        world.manager.register_task_handler(payload.kind, plain if threaded else coroutine)
        await world.manager.create_task(payload)
        await world.manager.drain()
        assert seen == [expected]

    check()


@pytest.mark.parametrize(("names", "expected"), [("a", ("a", "van")), ("abc", (None, "van"))])
def test_a_group_knows_its_key_and_a_group_of_one_its_task(names: str, expected: tuple[str | None, str | None]) -> None:
    """Of several tasks none is the current one."""

    @asynchronous
    async def check() -> None:
        world = World()
        seen: Seen = []
        world.manager.register_resource_key_handler(Keyed, lambda tasks: seen.append(current()))
        await world.manager.create_tasks([Keyed(name, "van") for name in names])
        await world.manager.drain()
        assert seen == [expected]

    check()


@asynchronous
async def test_a_clean_up_knows_task_and_key() -> None:
    """Also where the kind runs in groups: a clean-up is for one task."""
    world = World()
    seen: Seen = []
    world.manager.register_resource_key_handler(
        Keyed, lambda tasks: None, cancellation_handler=lambda task: seen.append(current())
    )
    await world.manager.create_tasks([Keyed("a", "van"), Keyed("b", "van")])
    await world.manager.cancel_tasks_by_ids(["a", "b"])
    await world.manager.drain()

    assert seen == [("a", "van"), ("b", "van")]


@asynchronous
async def test_handlers_at_work_at_once_know_each_its_own() -> None:
    """What is current follows the handler, not the worker."""
    world = World()
    seen: dict[str, tuple[str | None, str | None]] = {}

    @world.manager.task_handler(Keyed, concurrency=3)
    async def handle(task: OnceTask[Keyed]) -> None:
        await world.clock.sleep(1)
        seen[task.id] = current()

    await world.manager.create_tasks([Keyed(name, f"key of {name}") for name in "abc"])
    async with world.manager.running():
        await world.clock.run_for(2)

    assert seen == {name: (name, f"key of {name}") for name in "abc"}


@pytest.mark.parametrize("threaded", [True, False])
def test_the_surroundings_of_the_worker_reach_its_handlers(*, threaded: bool) -> None:
    """A context variable that is set where the worker is started is seen by both sorts of handlers."""

    @asynchronous
    async def check() -> None:
        world = World()
        seen: list[str] = []

        def plain(task: OnceTask[Job]) -> None:
            seen.append(CALLER.get())

        async def coroutine(task: OnceTask[Job]) -> None:
            seen.append(CALLER.get())

        world.manager.register_task_handler(Job, plain if threaded else coroutine)
        await world.manager.create_task(Job("a"))
        CALLER.set("the starter")
        await world.manager.drain()
        assert seen == ["the starter"]

    check()


@asynchronous
async def test_a_handler_gets_the_payload_and_its_value_is_the_result() -> None:
    """Typed on the way in, stored and typed on the way out."""
    world = World()

    @world.manager.task_handler(Job)
    async def double(task: OnceTask[Job]) -> int:
        assert isinstance(task.data.value, int)
        return task.data.value * 2

    created = await world.manager.create_task(Job("a", 21))
    await world.manager.drain()

    assert await created.wait() == 42
    assert (await world.task("a")).errors == ()


class Panic(BaseException):
    """Ends a handler past `except Exception`, as panics of extension modules do."""


def raise_no_exception() -> None:
    """Raise what Python does not let anybody raise."""
    text: Any = "just a text"
    raise text


def raising(error: BaseException) -> Callable[[], None]:
    """Return a function that raises `error`."""

    def fail() -> None:
        raise error

    return fail


FAILURES: list[tuple[Callable[[], None], str]] = [
    (raising(ValueError("boom")), "ValueError: boom"),
    (raising(RuntimeError("")), "RuntimeError"),
    (raising(KeyError(42)), "KeyError: 42"),
    (raising(ExceptionGroup("both", [ValueError("a"), ValueError("b")])), "ExceptionGroup: both (2 sub-exceptions)"),
    (raising(SystemExit(3)), "SystemExit: 3"),
    (raising(Panic("index out of range")), "Panic: index out of range"),
    (raising(StopAsyncIteration()), "StopAsyncIteration"),
    (raise_no_exception, "TypeError: exceptions must derive from BaseException"),
]


@pytest.mark.parametrize(("fail", "text"), FAILURES, ids=[text for _, text in FAILURES])
@pytest.mark.parametrize("threaded", [True, False])
def test_whatever_ends_a_handler_fails_its_task_and_no_other(
    fail: Callable[[], None], text: str, *, threaded: bool
) -> None:
    """One attempt, one recorded error; the worker goes on, and so does the rest of its work."""

    @asynchronous
    async def check() -> None:
        world = World()

        def plain(task: OnceTask[Job]) -> None:
            if task.id == "bad":
                fail()

        async def coroutine(task: OnceTask[Job]) -> None:
            plain(task)

        world.manager.register_task_handler(Job, plain if threaded else coroutine, retry_policy=NoRetryPolicy())
        await world.manager.create_tasks([Job("bad"), Job("good")])
        await world.manager.drain()

        bad, good = await world.task("bad"), await world.task("good")
        assert (bad.outcome, bad.failures, bad.crashes) == (Outcome.FAILED, 1, 0)
        assert [entry.error for entry in bad.errors] == [text]
        assert good.outcome is Outcome.COMPLETED

    check()


@pytest.mark.parametrize(("fail", "text"), FAILURES, ids=[text for _, text in FAILURES])
def test_whatever_ends_a_group_handler_fails_each_member(fail: Callable[[], None], text: str) -> None:
    """Every member has the error in its own history."""

    @asynchronous
    async def check() -> None:
        world = World()

        @world.manager.resource_key_handler(Keyed, retry_policy=NoRetryPolicy())
        async def handle(tasks: list[OnceTask[Keyed]]) -> None:
            fail()

        await world.manager.create_tasks([Keyed("a"), Keyed("b")])
        await world.manager.drain()
        for name in "ab":
            task = await world.task(name)
            assert (task.outcome, [entry.error for entry in task.errors]) == (Outcome.FAILED, [text])

    check()


class Asked:
    """A policy that notes what it is asked, and never retries."""

    def __init__(self) -> None:
        self.questions: list[tuple[int, BaseException]] = []

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Note the question."""
        self.questions.append((attempts, error))
        return None


@asynchronous
async def test_the_error_of_a_handler_reaches_its_policy_itself() -> None:
    """The very exception, with the number of the attempt, not a text or a copy."""
    world = World()
    error, policy = LookupError("gone"), Asked()
    world.manager.register_task_handler(Job, lambda task: raising(error)(), retry_policy=policy)
    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert [attempts for attempts, _ in policy.questions] == [1]
    assert policy.questions[0][1] is error


async def wait_of(world: World) -> float:
    """Return for how many seconds the task waits."""
    return ((await world.task("a")).wait_until - world.clock.now()).total_seconds()


@asynchronous
async def test_handler_and_clean_up_are_retried_each_by_its_own_policy() -> None:
    """The delays of one say nothing about the other, and a clean-up ends after its own attempts."""
    world = World()
    world.manager.register_task_handler(
        Job,
        lambda task: raising(ValueError("normal"))(),
        retry_policy=FixedDelayPolicy(delay=7, max_attempts=0),
        cancellation_handler=lambda task: raising(ValueError("clean-up"))(),
        cancellation_retry_policy=ExponentialBackoffPolicy(base_delay=100, multiplier=3, max_attempts=3, max_delay=900),
    )
    await world.manager.create_task(Job("a"))
    await world.manager.drain()
    assert await wait_of(world) == 7
    await world.manager.cancel_task("a")
    for wait in (100, 300):
        await world.manager.drain()
        assert await wait_of(world) == wait
        world.clock.advance(wait)
    await world.manager.drain()

    task = await world.task("a")
    assert (task.outcome, task.failures, task.cleanup_attempts) == (Outcome.CANCELLED, 1, 3)
    assert [entry.error for entry in task.errors] == ["ValueError: normal", *["ValueError: clean-up"] * 3]


@asynchronous
async def test_a_cancelled_task_without_clean_up_ends_without_result_or_error() -> None:
    """Nothing is called, claimed or charged for a clean-up that there is not."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: raising(AssertionError("called"))())
    await world.manager.create_task(Job("a"))
    await world.manager.cancel_task("a")
    await world.manager.drain()

    task = await world.task("a")
    assert (task.outcome, task.result, task.errors, task.claims) == (Outcome.CANCELLED, None, (), 0)


async def over(world: World, how: Outcome) -> OnceTask[object]:
    """Return a keyed task that ended in a way, with a history."""

    @world.manager.task_handler(Keyed, retry_policy=FixedDelayPolicy(max_attempts=2))
    async def handle(task: OnceTask[Keyed]) -> str:
        if task.attempts == 1 or how is Outcome.FAILED:
            raise ValueError("no")
        return "value"

    await world.manager.create_task(Keyed("a", "van"), priority=3, queue="slow", headers={"trace": "t"})
    if how is Outcome.CANCELLED:
        await world.manager.cancel_task("a")
    await world.manager.drain()
    world.manager.unregister("keyed")
    return await world.task("a")


@pytest.mark.parametrize("how", Outcome)
def test_a_reset_clears_the_run_and_keeps_what_the_creator_said(how: Outcome) -> None:
    """Whatever the end was: attempts, errors, result and cancellation go; identity, key and labels stay."""

    @asynchronous
    async def check() -> None:
        world = World()
        before = await over(world, how)
        assert before.outcome is how
        world.clock.advance(60)
        assert await world.manager.reset_task("a")

        after = await world.task("a")
        assert after.status(world.clock.now()) is TaskStatus.PENDING
        assert (after.attempts, after.claims, after.errors, after.error_count, after.result) == (0, 0, (), 0, None)
        assert (after.done_at, after.outcome, after.leased_until) == (None, None, None)
        assert (after.is_cancelled, after.cancelled_at) == (False, None)
        for name in ("id", "kind", "env", "payload", "created_at", "resource_key", "priority", "queue", "headers"):
            assert getattr(after, name) == getattr(before, name)

    check()


@asynchronous
async def test_a_second_reset_changes_nothing() -> None:
    """Of a task that is pending again, or held, nothing is reset; the answer says why."""
    world = World()
    await over(world, Outcome.COMPLETED)
    assert await world.manager.reset_task("a")
    pending = await world.task("a")
    again = await world.manager.reset_tasks_by_ids(["a"])
    await world.vanish_with("keyed")
    held = await world.task("a")
    once_more = await world.manager.reset_tasks_by_ids(["a"])

    assert (again.changed, once_more.changed) == ((), ())
    assert "only a finished task" in again.skipped["a"]
    assert held.run_uid == pending.run_uid
    assert await world.task("a") == held


@asynchronous
async def test_an_environment_can_do_nothing_to_the_tasks_of_another() -> None:
    """Managers on one storage: equal ids are different tasks, and foreign ones do not exist."""
    space = Space()
    ours, theirs = (TaskManager(MemoryStore(env=env, space=space)) for env in ("OURS", "THEIRS"))
    for manager in (ours, theirs):
        manager.register_task_handler(Job, lambda task: task.env)
    assert await theirs.create_task(Job("a"))
    assert await theirs.create_task(Job("b"))
    await theirs.drain()
    assert await ours.create_task(Job("b"))
    before = (await theirs.get_tasks_by_ids(["a", "b"])).tasks

    for change in (ours.reset_tasks_by_ids, ours.cancel_tasks_by_ids, ours.delete_tasks_by_ids):
        bulk = await change(["a"])
        assert (bulk.changed, bulk.skipped) == ((), {"a": "no such task"})
    await ours.drain()
    mine = (await ours.get_tasks_by_ids(["a", "b"])).tasks

    assert [(task.id, task.env, task.result) for task in mine] == [("b", "OURS", '"OURS"')]
    assert (await theirs.get_tasks_by_ids(["a", "b"])).tasks == before


@pytest.mark.parametrize("value", ["tomorrow", 2**62])
@pytest.mark.parametrize("column", ["done_at", "leased_until", "wait_until"])
def test_a_record_whose_time_is_none_is_listed_as_unreadable(column: str, *, value: object, tmp_path: Path) -> None:
    """It has no status, and keeps nobody from reading the others or from being run."""

    @asynchronous
    async def check() -> None:
        manager = TaskManager(f"sqlite:///{tmp_path / 'tasks.db'}")
        manager.register_task_handler(Job, lambda task: None)
        await manager.create_tasks([Job("bad"), Job("good")])
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection, connection:
            connection.execute(f"UPDATE oncetask_task SET {column} = ? WHERE id = 'bad'", (value,))
        await manager.drain()
        by_id, listed = await manager.get_tasks_by_ids(["bad", "good"]), await manager.list_tasks()
        await manager.close()

        for page in (by_id, listed):
            assert [(task.id, task.outcome) for task in page.tasks] == [("good", Outcome.COMPLETED)]
            assert list(page.unreadable) == ["bad"]

    check()
