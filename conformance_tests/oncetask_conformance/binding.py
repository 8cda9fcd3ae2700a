"""How the suite's coroutines become tests of a binding, with nothing but pytest itself.

Each test runs in an event loop of its own (`asyncio.run`), on a new space. No plugin takes part: a plugin
for coroutines would have to be installed, chosen and configured by everybody who writes a store, and two
of them in one project get in each other's way. Marks of our own are avoided for the same reason: they would
have to be registered wherever markers are strict.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable

from oncetask_conformance.harness import Harness
from oncetask_conformance.running import Case, Coroutine, functions_of, names_of, parametrize_marks, run
from oncetask_conformance.suite import SUITE


def conformance(harness: Harness) -> dict[str, type]:
    """Return the suite's test classes, bound to the store of `harness`, by the names that pytest collects.

    A binding puts them into its module:

        globals().update(conformance(MyHarness()))
    """
    return {tests.__name__: tests for tests in (_bound(tests, harness) for tests in SUITE)}


def _bound(tests: type, harness: Harness) -> type:
    members = {name: _collectable(tests, function, harness) for name, function in functions_of(tests)}
    name = f"Test{tests.__name__.removesuffix('Tests')}"
    return type(name, (), members | {"__doc__": tests.__doc__})


def _collectable(tests: type, function: Coroutine, harness: Harness) -> Callable[..., None]:
    """Return a plain function with the test's name, place and marks, whose arguments are its parameters."""

    @functools.wraps(function)
    def test(self: object, **parameters: object) -> None:  # noqa: ARG001 - pytest passes the instance
        asyncio.run(run(Case(tests, function, parameters), harness))

    names = ["self", *(name for mark in parametrize_marks(function) for name in names_of(mark))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    setattr(test, "__signature__", inspect.Signature(parameters))  # noqa: B010 - mypy knows no such attribute
    return test
