"""The conformance suite of oncetask: what every store has to do, as tests that any store can be bound to.

A binding is a module with a few lines. It says how to make a store on an empty space and how to read that
space around the store (`Harness`, `Space`, `RawTask`), and collects the suite:

    from oncetask_conformance import conformance

    globals().update(conformance(MyHarness()))

It needs pytest and nothing else; any way of running pytest will do, in parallel too.
"""

import pytest

pytest.register_assert_rewrite(
    "oncetask_conformance.suite", "oncetask_conformance.world", "oncetask_conformance.states"
)

from oncetask_conformance.binding import conformance  # noqa: E402 - assertions of what is imported before
from oncetask_conformance.harness import (  # noqa: E402 - this line are not rewritten
    INJECTED_CLOCK,
    REPEATS_AT_ONCE,
    SEATS,
    SPOILED_RECORDS,
    Harness,
    RawTask,
    Space,
    as_raw,
)

__all__ = [
    "INJECTED_CLOCK",
    "REPEATS_AT_ONCE",
    "SEATS",
    "SPOILED_RECORDS",
    "Harness",
    "RawTask",
    "Space",
    "as_raw",
    "conformance",
]
