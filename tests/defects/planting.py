"""Scenarios that pass here and fail with a rule of the Go library planted.

Each defect is a scenario and a plant. The scenario runs twice: as the library is, where it must pass, and with the
plant, where it must fail, so that no scenario can pass by testing nothing.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from oncetask import OncetaskError
from tests.asynchronous import SOON
from tests.defects.spec_store import SpecStore
from tests.worker.world import World

Scenario = Callable[[World], Coroutine[Any, Any, None]]
Plant = Callable[[], AbstractContextManager[object]]

PATIENCE = 2.0
"""Seconds after which a scenario that hangs with the plant has failed."""
SYMPTOMS = (AssertionError, TimeoutError, OncetaskError, pytest.fail.Exception)


def check_defect(scenario: Scenario, plant: Plant = nullcontext, *, store: type[SpecStore] = SpecStore) -> None:
    """Run the scenario without and with the plant.

    Args:
        scenario: Asserts the better behaviour.
        plant: Plants the seed's rule for the length of a block.
        store: The store of the second run, where the rule is planted in a store.
    """
    _run(scenario, SpecStore, nullcontext(), within=SOON)
    with pytest.raises(SYMPTOMS):
        _run(scenario, store, plant(), within=PATIENCE)


def _run(scenario: Scenario, store: type[SpecStore], plant: AbstractContextManager[object], *, within: float) -> None:
    """Run the scenario for so long at most. Its block around a worker would wait for the end of that in virtual time.

    So it is not cancelled alone: the event loop is taken down around both.
    """

    async def run() -> None:
        running = asyncio.create_task(scenario(World.on(store)))
        await asyncio.wait([running], timeout=within)
        if not running.done():
            raise TimeoutError
        await running

    with plant:
        asyncio.run(run())


@contextmanager
def replaced(original: Any, replacement: Any) -> Iterator[None]:
    """Put `replacement` in the place of a function or constant of the core, wherever it was imported."""
    places = [
        (module, name)
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("oncetask")
        for name, value in list(vars(module).items())
        if value is original
    ]
    assert places
    for module, name in places:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, original)


@contextmanager
def method_replaced(owner: type, name: str, replacement: Any) -> Iterator[None]:
    """Put `replacement` in the place of a method of a class."""
    original = vars(owner)[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
