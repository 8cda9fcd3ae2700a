"""What each event loop has for itself, and what a forked child leaves alone."""

import asyncio
import itertools
import os

import pytest

from oncetask_core.loops import PerLoop
from tests.asynchronous import asynchronous
from tests.forked import in_child


class Connection:
    """Remembers where it was closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


def connections() -> PerLoop[Connection]:
    """Return numbered ones."""
    numbers = itertools.count(1)
    return PerLoop(lambda: Connection(next(numbers)))


def test_each_loop_has_its_own() -> None:
    """Also one that runs beside another, on a thread."""
    made = connections()

    async def number() -> int:
        return made.here().number

    async def both() -> tuple[int, int, int]:
        return await number(), await asyncio.to_thread(asyncio.run, number()), await number()

    assert asyncio.run(both()) == (1, 2, 1)
    assert asyncio.run(number()) == 3


@asynchronous
async def test_what_is_closed_is_made_anew() -> None:
    """A second end finds nothing."""
    made = connections()
    first = made.here()
    await made.close()
    assert first.is_closed
    await made.close()
    assert made.here().number == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@asynchronous
async def test_a_forked_child_neither_uses_nor_ends_those_of_its_parent() -> None:
    """It keeps them: whatever collected them there could say goodbye to the server for both."""
    made = connections()
    parents = made.here()

    async def child() -> None:
        mine = made.here()
        assert mine is not parents
        await made.close()
        assert mine.is_closed
        assert not parents.is_closed
        assert [parents] in [list(by_loop.values()) for by_loop in made._by_process.values()]

    assert await asyncio.to_thread(in_child, child) == 0
    assert made.here() is parents
