"""What is handed to a manager in place of something that looks much like it: refused at once, with the way out."""

from collections.abc import Callable
from typing import Any

import pytest

from oncetask import (
    ConfigurationError,
    InputError,
    InvalidTaskError,
    MemoryStore,
    PayloadError,
    PerTask,
    Seams,
    SyncTaskManager,
    TaskFilter,
    TaskManager,
)
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World

Action = Callable[[Any], Any]
"""What is done with a manager; untyped, for all of it is wrong on purpose."""
TASK_MANAGER: Any = TaskManager
PER_TASK: Any = PerTask


def no_parameters() -> None: ...


def one_parameter(a: object) -> None: ...


async def awaiting(event: object) -> None: ...


class Awaiting:
    """Is called like a coroutine function."""

    async def __call__(self, event: object) -> None: ...


class Opaque:
    """Has parameters that nobody knows, like some functions of extension modules."""

    __signature__ = 5  # which is none

    def __call__(self, *events: object) -> None: ...


def overridden(manager: Any, store: object) -> None:
    """Use another store, for nothing."""
    with manager.override(store):
        pass


def check_refused(action: Action, manager: object, *, error: type[InputError], says: str) -> None:
    """Check that the action is refused, with value, rule and way out."""
    with pytest.raises(error) as caught:
        action(manager)

    assert says in str(caught.value)
    assert caught.value.rule in str(caught.value)
    assert caught.value.remedy


ON_A_MANAGER: list[tuple[str, Action, str]] = [
    ("a number for a start hook", lambda m: m.on_start(7), "called as hook(); got 7"),
    ("a number for a stop hook", lambda m: m.on_stop(7), "called as hook(); got 7"),
    ("nothing for an event hook", lambda m: m.on_event(None), "called as hook(event); got None. Pass the function"),
    ("a start hook with a parameter", lambda m: m.on_start(one_parameter), "(a: object) -> None refuses"),
    ("a stop hook with a parameter", lambda m: m.on_stop(one_parameter), "(a: object) -> None refuses"),
    ("an event hook without a parameter", lambda m: m.on_event(no_parameters), "hook(event), which its signature ()"),
    ("an event hook that awaits", lambda m: m.on_event(awaiting), "without async"),
    ("an object that awaits events", lambda m: m.on_event(Awaiting()), "without async"),
    ("a URL to override with", lambda m: overridden(m, "memory://"), "got 'memory://'. Pass a store such as Memory"),
    ("a secret to override with", lambda m: overridden(m, "postgresql://u:secret@h/d"), "postgresql://u:***@h/d"),
    ("a class to override with", lambda m: overridden(m, MemoryStore), "write MemoryStore(...)"),
    ("nothing to override with", lambda m: overridden(m, None), "override takes a store; got None"),
]


@pytest.mark.parametrize("make", [TaskManager, SyncTaskManager])
@pytest.mark.parametrize(("what", "action", "says"), ON_A_MANAGER, ids=[row[0] for row in ON_A_MANAGER])
def test_hooks_and_stores_are_refused_when_they_are_given(
    what: str, action: Action, *, says: str, make: Callable[[str], object]
) -> None:
    """And not when they are first used."""
    assert what
    check_refused(action, make("memory://"), error=ConfigurationError, says=says)


MAKING: list[tuple[str, Callable[[], object], str]] = [
    ("the class of a store", lambda: TASK_MANAGER(MemoryStore), "write MemoryStore(...)"),
    ("a number for seams", lambda: TASK_MANAGER("memory://", seams=5), "got 5. Write Seams(clock="),
    ("the class of seams", lambda: TASK_MANAGER("memory://", seams=Seams), "Write Seams(clock="),
    ("a number for outcomes", lambda: PER_TASK(5), "mapping of task ids to outcomes; got 5"),
    ("pairs for outcomes", lambda: PER_TASK([("a", 1)]), "mapping of task ids to outcomes; got [('a', 1)]"),
]


@pytest.mark.parametrize(("what", "make", "says"), MAKING, ids=[row[0] for row in MAKING])
def test_what_things_are_made_from_is_checked(what: str, make: Callable[[], object], says: str) -> None:
    """At once."""
    assert what
    check_refused(lambda _: make(), None, error=ConfigurationError, says=says)


def test_hooks_may_be_whatever_can_be_called() -> None:
    """Coroutine functions, bound methods, classes, and functions whose parameters Python does not know."""
    manager = TaskManager("memory://")
    seen: list[object] = []

    @manager.on_start
    async def start(*, name: str = "") -> None:
        seen.append(name)

    manager.on_stop(seen.clear)
    manager.on_stop(print)
    manager.on_event(seen.append)
    manager.on_event(lambda *events: seen.extend(events))
    manager.on_event(Opaque())


READING: list[tuple[str, Action, type[InputError], str]] = [
    ("a dict", lambda m: m.list_tasks({"kind": "job"}), ConfigurationError, "{'kind': 'job'}. Write TaskFilter("),
    ("the class of a filter", lambda m: m.list_tasks(TaskFilter), ConfigurationError, "Write TaskFilter("),
    ("a kind", lambda m: m.count_tasks("job"), ConfigurationError, "got 'job'. Write TaskFilter("),
    ("no kinds", lambda m: m.count_tasks(frozenset()), ConfigurationError, "Write TaskFilter("),
    ("no ids to get", lambda m: m.get_tasks_by_ids(None), InvalidTaskError, "another collection; got None"),
    ("no ids to cancel", lambda m: m.cancel_tasks_by_ids(None), InvalidTaskError, "another collection; got None"),
    ("no ids to reset", lambda m: m.reset_tasks_by_ids(None), InvalidTaskError, "another collection; got None"),
    ("no ids to delete", lambda m: m.delete_tasks_by_ids(None), InvalidTaskError, "another collection; got None"),
    ("a number for ids", lambda m: m.get_tasks_by_ids(7), InvalidTaskError, "got 7. Put one into a list"),
    ("a payload for ids", lambda m: m.delete_tasks_by_ids(Job("a")), InvalidTaskError, "Put one into a list"),
]


@pytest.mark.parametrize(("what", "action", "error", "says"), READING, ids=[row[0] for row in READING])
def test_tasks_are_chosen_by_a_filter_or_by_ids(
    what: str, action: Action, *, error: type[InputError], says: str
) -> None:
    """Both by the manager that awaits and by the one that blocks."""
    blocking = SyncTaskManager("memory://")

    @asynchronous
    async def check() -> None:
        with pytest.raises(error) as caught:
            await action(World().manager)
        assert says in str(caught.value), what

    check()
    check_refused(action, blocking, error=error, says=says)
    blocking.close()


def test_a_result_that_was_asked_for_as_another_type_is_there_still() -> None:
    """What does not fit is the type that was asked for, so nothing is to be deleted."""
    world = World()
    world.manager.register_task_handler(Job, lambda task: 7)

    @asynchronous
    async def check() -> None:
        await world.manager.create_task(Job("a"))
        await world.manager.drain()
        with pytest.raises(PayloadError, match=r"does not fit str: .*Ask for a type that fits") as caught:
            await world.manager.wait("a", result_type=str)

        assert "delete" not in str(caught.value)
        assert await world.manager.wait("a", result_type=int) == 7

    check()
