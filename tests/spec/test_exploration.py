"""Every promise holds in every state that two workers, a few tasks and a few claims can reach.

`ONCETASK_SPEC_DEPTH` sets the number of claims: 2 in the gate, 3 or 4 in the full version.
"""

import sys
from collections import Counter

import pytest

from oncetask_core.transition import Verdict
from tests.spec.checks import Rule, ViolationError
from tests.spec.exploration import explore
from tests.spec.rules import Core
from tests.spec.scenarios import CLEANED_UP, DEPTH, GROUPS, KEYLESS, RECREATED, at_depth
from tests.spec.world import Scenario


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", at_depth(DEPTH), ids=lambda scenario: scenario.name)
def test_every_promise_holds_in_every_state(scenario: Scenario) -> None:
    """No order of events breaks a promise, and the exploration was completed."""
    explored = explore(scenario, Core())

    sys.stdout.write(f"{explored.summary()}\n")
    assert explored.complete
    assert explored.states > 1000


def test_exploration_meets_what_is_hard() -> None:
    """Late settles, repeated ones, ghosts, controls and every verdict happen; else the exploration proves nothing."""
    events: Counter[str] = Counter()
    for scenario in (GROUPS, KEYLESS, CLEANED_UP, RECREATED):
        events += explore(scenario, Core(), limit=3000).events

    expected = {"claim", "claim again", "claim arrives", "expire", "renew", "time passes", "read"}
    expected |= {"cancel", "reset", "delete", "create", "reschedule"}
    for report in ("succeed", "fail", "snooze", "release"):
        expected |= {report, f"{report}, no reply", f"{report}, {Verdict.LEASE_LOST}", f"{report}, {Verdict.ALREADY}"}
    expected |= {f"succeed, {Verdict.CHANGED}", f"succeed, {Verdict.MISSING}"}
    assert expected <= events.keys()


def test_violation_tells_how_it_was_reached() -> None:
    """Whoever sees a violation can follow it step by step."""
    core = Core(held=lambda claim, rows: [])

    with pytest.raises(ViolationError) as caught:
        explore(KEYLESS, core)

    assert caught.value.rule is Rule.LOST_REPLY
    assert caught.value.__notes__ == [" -> ".join(caught.value.trace)]
