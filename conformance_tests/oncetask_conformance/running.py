"""How one test of the suite runs: on a new space, on the clock it asks for, if the store is capable of it."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
import pytest

from oncetask_conformance.harness import INJECTED_CLOCK, Harness
from oncetask_conformance.world import World
from oncetask_core.clock import VirtualClock

INJECTED, OWN = "injected clock", "own clock"
on_both_clocks = pytest.mark.parametrize("clock", [INJECTED, OWN])
"""For tests of what the store's own clock decides; others run on the injected clock where there is one."""

_NEEDS = "needed_capability"
_TIME_LIMIT = 60.0
_PATIENCE = 20.0
Coroutine = Callable[..., Awaitable[None]]
F = TypeVar("F", bound=Coroutine)


class Case(msgspec.Struct, frozen=True):
    """One test with its parameters."""

    tests: type
    function: Coroutine
    parameters: Mapping[str, object]

    @property
    def name(self) -> str:
        """The class, the test, and its parameters in brackets."""
        shown = "-".join(str(value) for value in self.parameters.values())
        return f"{self.tests.__name__}.{self.function.__name__}" + (f"[{shown}]" if shown else "")


def needs(capability: str) -> Callable[[F], F]:
    """Mark a test that only applies to stores with an optional capability; others skip it by that name."""

    def mark(function: F) -> F:
        setattr(function, _NEEDS, capability)
        return function

    return mark


def cases(tests: type) -> Iterator[Case]:
    """Return every test of a class with every combination of its parameters, for runs without pytest."""
    for _, function in functions_of(tests):
        choices = [_choices(mark) for mark in parametrize_marks(function)]
        for chosen in itertools.product(*choices):
            yield Case(tests, function, {name: value for part in chosen for name, value in part.items()})


async def run(case: Case, harness: Harness, *, patience: float = _PATIENCE) -> None:
    """Run one case on a new space; raises what the test raises, and pytest's skip where it does not apply.

    Args:
        case: The test.
        harness: The binding.
        patience: The real seconds after which news that have not come have been missed.
    """
    needed = getattr(case.function, _NEEDS, None)
    if needed is not None and needed not in harness.capabilities:
        pytest.skip(f"needs the capability {needed}")
    parameters = dict(case.parameters)
    clock = _clock(parameters.pop("clock", None), harness)
    async with (
        asyncio.timeout(_TIME_LIMIT),
        harness.space(clock) as space,
        World(space, clock, capabilities=harness.capabilities, patience=patience) as world,
    ):
        await case.function(case.tests(), world, **parameters)


def _clock(wanted: object, harness: Harness) -> VirtualClock | None:
    can_inject = INJECTED_CLOCK in harness.capabilities
    if wanted == INJECTED and not can_inject:
        pytest.skip(f"needs the capability {INJECTED_CLOCK}")
    return VirtualClock() if can_inject and wanted != OWN else None


def functions_of(tests: type) -> list[tuple[str, Coroutine]]:
    """Return the tests of a class by name, in the order of their definition."""
    return [(name, function) for name, function in vars(tests).items() if name.startswith("test_")]


def parametrize_marks(function: Coroutine) -> Sequence[pytest.Mark]:
    """Return how a test is parametrised."""
    marks: Sequence[pytest.Mark] = getattr(function, "pytestmark", [])
    return [mark for mark in marks if mark.name == "parametrize"]


def names_of(mark: pytest.Mark) -> list[str]:
    """Return the names of the parameters that a mark gives values to."""
    return [name.strip() for name in mark.args[0].split(",")]


def _choices(mark: pytest.Mark) -> list[dict[str, object]]:
    names = names_of(mark)
    return [dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in mark.args[1]]
