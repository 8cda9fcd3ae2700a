"""No part of a payload or result is logged, also where it is at fault; the task's own errors say what it was."""

import logging
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import pytest

from oncetask import NoRetryPolicy, OnceTask, TaskData
from tests.asynchronous import asynchronous
from tests.worker.world import Job, World

SECRET = "hunter2"


class Size(Enum):
    """What an older version of a payload does not keep to."""

    SMALL = "small"


@dataclass(frozen=True)
class Older(TaskData[object]):
    """What was created."""

    kind: ClassVar[str] = "parcel"
    size: str

    def idempotent_id(self) -> str:
        return "a"


@dataclass(frozen=True)
class Newer(TaskData[object]):
    """What is registered now."""

    kind: ClassVar[str] = "parcel"
    size: Size


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@asynchronous
async def test_a_payload_that_does_not_fit_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The kind is, and that it was the payload."""
    world = World()
    world.manager.register_task_handler(Newer, lambda task: task.data.size.value, retry_policy=NoRetryPolicy())
    await world.manager.create_task(Older(SECRET))
    await world.manager.drain()

    assert SECRET in (await world.task("a")).errors[-1].error
    assert "handler of kind parcel failed: PayloadError" in caplog.text
    assert SECRET not in caplog.text


@asynchronous
async def test_a_result_that_cannot_be_stored_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The rule that it breaks is."""
    world = World()

    @world.manager.task_handler(Job)
    async def handle(_: OnceTask[Job]) -> object:
        return {"password": f"{SECRET}\ud800"}

    await world.manager.create_task(Job("a"))
    await world.manager.drain()

    assert SECRET in (await world.task("a")).errors[-1].error
    assert "a result cannot be stored: the result has no lone surrogates" in caplog.text
    assert SECRET not in caplog.text
