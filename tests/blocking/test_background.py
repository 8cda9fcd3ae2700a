"""The event loop on a thread of its own: calls beside its end, and what a fork needs."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from oncetask_core.background import BackgroundLoop
from tests.asynchronous import SOON

BESIDE_SECONDS = 0.2
"""How long the end waits in vain for a call that it must not overtake."""


async def answer() -> str:
    return "answer"


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_call_that_begins_while_another_thread_ends_the_loop_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end comes before the call or after it, never between its look at the loop and its place on it."""
    background = BackgroundLoop()
    background.run(answer())
    closing = threading.Thread(target=background.close)
    begin = asyncio.run_coroutine_threadsafe

    def begin_beside_the_end(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> "Future[Any]":
        closing.start()
        closing.join(BESIDE_SECONDS)
        return begin(coroutine, loop)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", begin_beside_the_end)
    begun = background.begin(answer())
    closing.join(SOON)
    monkeypatch.undo()

    assert not closing.is_alive()
    try:
        assert begun.result(SOON) == "answer"
    except CancelledError:
        assert begun.cancelled()
    assert background.run(answer()) == "answer"
    background.close()


def test_what_still_runs_at_the_end_is_cancelled() -> None:
    """Its caller hears of it."""
    background = BackgroundLoop()
    begun = background.begin(forever())
    background.close()

    with pytest.raises(CancelledError):
        begun.result(SOON)


def test_a_loop_that_nobody_uses_any_more_is_not_kept() -> None:
    """The hook that a fork needs holds none."""
    background = BackgroundLoop()
    background.run(answer())
    background.close()
    gone = weakref.ref(background)
    del background
    gc.collect()

    assert gone() is None
