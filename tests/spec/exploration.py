"""Breadth first through every state of a scenario."""

from collections import Counter, deque
from dataclasses import dataclass, field

from tests.spec.checks import ViolationError
from tests.spec.control import ControlledWorld
from tests.spec.rules import Core
from tests.spec.state import State, fingerprint
from tests.spec.world import Scenario, Step

Parents = dict[int, tuple[int, str] | None]
"""How each state was reached first. States are told apart by 64 bits of their fingerprint."""


@dataclass(slots=True)
class Explored:
    """What an exploration saw."""

    scenario: str
    states: int = 0
    events: Counter[str] = field(default_factory=Counter)
    complete: bool = True

    def summary(self) -> str:
        """Return the counts as one line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.events.items()))
        extent = "" if self.complete else " (cut)"
        return f"{self.scenario}: {self.states} states{extent}, {self.events.total()} transitions: {counts}"


def explore(scenario: Scenario, core: Core, *, limit: int | None = None) -> Explored:
    """Visit every state that can be reached, or the first `limit`.

    Raises:
        ViolationError: A promise was broken; its `trace` tells how.
    """
    world, explored = ControlledWorld(scenario, core), Explored(scenario.name)
    start = world.start()
    first = hash(fingerprint(start))
    parents: Parents = {first: None}
    waiting: deque[tuple[State, int]] = deque([(start, first)])
    while waiting:
        if limit is not None and explored.states >= limit:
            explored.complete = False
            break
        state, here = waiting.popleft()
        explored.states += 1
        try:
            for step in world.steps(state):
                explored.events[step.event] += 1
                _visit(step, here, parents=parents, waiting=waiting)
        except ViolationError as violation:
            violation.trace = _trace(here, parents)
            violation.add_note(" -> ".join(violation.trace))
            raise
    return explored


def _visit(step: Step, here: int, *, parents: Parents, waiting: deque[tuple[State, int]]) -> None:
    reached = hash(fingerprint(step.state))
    if reached not in parents:
        parents[reached] = (here, f"{step.event} {step.detail}".strip())
        waiting.append((step.state, reached))


def _trace(here: int, parents: Parents) -> list[str]:
    steps: list[str] = []
    link = parents[here]
    while link is not None:
        steps.append(link[1])
        link = parents[link[0]]
    return steps[::-1]
