"""Async tests without a plugin: each runs on a fresh event loop in debug-free mode, and leaves no task behind."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from oncetask_core.clock import TURNS

P = ParamSpec("P")

SOON = 30.0
"""Seconds after which a test that waits for something real has failed; a machine with much to do takes some."""


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a coroutine function a test; fail it when it leaves asyncio tasks running."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(_checked(test(*args, **kwargs)))

    return run


async def _checked(test: Coroutine[Any, Any, None]) -> None:
    await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for _ in range(TURNS):  # what waited for a thread that has just ended takes some turns of the loop to end
        if left:
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"the test left tasks running: {left}"


async def until(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - nobody tells when a thread has ended
            await asyncio.sleep(0.01)
