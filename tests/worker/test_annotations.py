"""What a handler's annotation says of its payload, and which payloads such a handler may be given."""

from dataclasses import dataclass
from typing import Any

import pytest

from oncetask import ConfigurationError, OnceTask, TaskData
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World


@dataclass(frozen=True)
class SpecialJob(Job):
    """A payload that is a special case of another."""

    kind = "special"


async def takes_anything(task: OnceTask[Any]) -> str:
    return type(task.data).__name__


async def takes_objects(task: OnceTask[object]) -> str:
    return type(task.data).__name__


async def takes_payloads(task: OnceTask[TaskData[Any]]) -> str:
    return type(task.data).__name__


async def takes_either(task: OnceTask[Keyed | Job]) -> str:
    return type(task.data).__name__


async def takes_jobs(task: OnceTask[Job]) -> str:
    return type(task.data).__name__


async def takes_keyed(task: OnceTask[Keyed]) -> None: ...


async def takes_special_jobs(task: OnceTask[SpecialJob]) -> None: ...


async def takes_others(task: OnceTask[Keyed | SpecialJob]) -> None: ...


@pytest.mark.parametrize("handler", [takes_anything, takes_objects, takes_payloads, takes_either, takes_jobs])
@asynchronous
async def test_a_handler_may_take_more_than_the_payloads_that_it_is_given(handler: Any) -> None:
    """One handler serves several kinds, as type checkers allow; payloads are read as the class of their kind."""
    world = World()
    world.manager.register_task_handler(Job, handler)
    world.manager.register_task_handler(SpecialJob, handler)
    created = await world.manager.create_tasks([Job("a"), SpecialJob("b")])
    await world.manager.drain()

    assert [await one.wait() for one in created] == ["Job", "SpecialJob"]


@pytest.mark.parametrize("handler", [takes_keyed, takes_special_jobs, takes_others])
def test_a_handler_that_takes_other_payloads_is_refused(handler: Any) -> None:
    """When it is registered, and not when the first task fails."""
    with pytest.raises(ConfigurationError, match=r"takes OnceTask\[Job\], not OnceTask\["):
        World().manager.register_task_handler(Job, handler)
