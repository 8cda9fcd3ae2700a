"""Which tests with processes, of several that show the same, run in the gate: they take seconds each."""

import os

import pytest

IS_LONG = os.environ.get("ONCETASK_EFFORT") == "long"
long_only = pytest.mark.skipif(not IS_LONG, reason="one of these is enough for the gate, the long test takes all")
