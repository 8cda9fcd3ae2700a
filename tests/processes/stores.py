"""On which stores the tests with processes run: they take seconds each."""

import os

import pytest

IS_LONG = os.environ.get("ONCETASK_EFFORT") == "long"
long_only = pytest.mark.skipif(not IS_LONG, reason="one store is enough for the gate, the long test takes all")
