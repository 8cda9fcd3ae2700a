"""The scenarios that are explored, each small enough to be completed."""

import os
from dataclasses import replace

from tests.spec.world import Scenario

GATE_DEPTH = 2
DEPTH = int(os.environ.get("ONCETASK_SPEC_DEPTH", GATE_DEPTH))
"""How many claims most scenarios allow; the full version sets 3, patience 4."""

ENDS = ("succeed", "fail")

SINGLES = Scenario(name="two tasks of a key, claimed one by one", reports=(*ENDS, "snooze"))
GROUPS = Scenario(name="two tasks of a key, claimed together", group=2, lost=0, reports=ENDS)
LOST_GROUPS = Scenario(
    name="two tasks of a key, claimed together, messages lost", group=2, controls=0, reports=(*ENDS, "release")
)
THREE = Scenario(name="three tasks of a key, two together", keyed=("a", "b", "c"), group=2, controls=0, lost=0)
CLEANED_UP = Scenario(name="two tasks of a key with a clean-up", has_cleanup=True, operations=("cancel",))
STRICT = Scenario(name="two tasks of a key in strict order", strict=True, group=2, lost=0, reports=ENDS)
KEYLESS = Scenario(name="a task without a key", keyed=(), keyless=("k",), controls=2)
LOST = Scenario(name="a task without a key, messages lost", keyed=(), keyless=("k",), lost=2, attempts=4, reports=ENDS)
MIXED = Scenario(name="a task of a key and one without", keyed=("a",), keyless=("k",), lost=0)
RECREATED = Scenario(
    name="tasks of a key deleted and created again",
    claims=1,
    controls=3,
    lost=0,
    operations=("delete", "create", "cancel"),
)

GATE = (SINGLES, GROUPS, LOST_GROUPS, THREE, CLEANED_UP, STRICT, KEYLESS, LOST, MIXED, RECREATED)
DEEPER = (
    replace(GROUPS, name=f"{GROUPS.name}, messages lost and controls", lost=1),
    replace(CLEANED_UP, name=f"{CLEANED_UP.name}, together", group=2, lost=0),
    replace(THREE, name=f"{THREE.name}, with controls", controls=1, reports=ENDS),
    replace(MIXED, name=f"{MIXED.name}, messages lost", lost=1),
)


def at_depth(depth: int) -> list[Scenario]:
    """Return the scenarios to explore: beyond the gate's depth there are more of them, each with more claims."""
    if depth <= GATE_DEPTH:
        return list(GATE)
    more = depth - GATE_DEPTH
    return [*(replace(scenario, claims=scenario.claims + more) for scenario in GATE), *DEEPER]
