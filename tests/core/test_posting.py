"""Telling an event loop something from another thread, also when nobody listens any more."""

import asyncio
from collections.abc import Callable

import pytest

from oncetask_core.posting import post
from tests.asynchronous import asynchronous


class ClosingLoop(asyncio.SelectorEventLoop):
    """A loop that another thread closes after the last look at it and before the call."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object, context: object = None) -> None:  # type: ignore[override]  # the handle is not used
        self.close()
        super().call_soon_threadsafe(callback, *args)


class RefusingLoop(asyncio.SelectorEventLoop):
    """A loop that is open and fails."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object, context: object = None) -> None:  # type: ignore[override]  # the handle is not used
        raise RuntimeError("no room")


@asynchronous
async def test_the_function_is_called_on_the_loop() -> None:
    """With what it was given, and after what runs now."""
    told: list[str] = []
    await asyncio.to_thread(post, asyncio.get_running_loop(), told.append, "a")
    await asyncio.sleep(0)

    assert told == ["a"]


def test_a_loop_that_closes_meanwhile_is_told_nothing() -> None:
    """Whoever ends a run beside its own end hears of no error."""
    told: list[str] = []
    post(ClosingLoop(), told.append, "a")

    assert told == []


def test_any_other_failure_is_raised() -> None:
    """It would be lost."""
    loop = RefusingLoop()
    with pytest.raises(RuntimeError, match="no room"):
        post(loop, print)
    loop.close()
