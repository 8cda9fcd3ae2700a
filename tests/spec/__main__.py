"""Explores every scenario and prints what was seen: `python -m tests.spec`."""

import sys

from tests.spec.exploration import explore
from tests.spec.rules import Core
from tests.spec.scenarios import DEPTH, at_depth

for scenario in at_depth(DEPTH):
    sys.stdout.write(f"{explore(scenario, Core()).summary()}\n")
    sys.stdout.flush()
