"""What happened in a run of the model machine, counted: a run that never met a stale holder proves little."""

from collections import Counter
from collections.abc import Iterable

from oncetask_core.transition import Verdict

LEAST_STALE = 0.1
"""The part of the settles that has to come from late holders."""
SITUATIONS = (
    "claimed a follower",
    "claimed a suspect",
    "claimed for clean-up",
    "moved a generator on",
    "moved a generator to its end",
    "moved a generator nowhere",
    "ended completed",
    "ended failed",
    "ended cancelled",
)


class Tally:
    """Counts of a whole run.

    Args:
        rules: The names of all rules, in words or as identifiers.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self.rules = sorted(name.replace("_", " ") for name in rules)
        self.examples = 0
        self.steps: Counter[str] = Counter()
        """By rule."""
        self.outcomes: Counter[str] = Counter()
        """By rule and what came of it."""
        self.verdicts: Counter[Verdict] = Counter()
        self.settles: Counter[str] = Counter()
        """By how the holder knew the task: `current`, `stale`, or `repeated` after a lost reply."""
        self.facts: Counter[str] = Counter()
        """Rare situations, by what they are."""

    @property
    def stale_share(self) -> float:
        """The part of the settles that came from holders who were late, from 0 to 1; repeats are none of them."""
        return self.settles["stale"] / max(self.settles.total(), 1)

    def add(self, rule: str, outcomes: Iterable[object]) -> None:
        """Count one step."""
        self.steps[rule] += 1
        for outcome in outcomes:
            self.outcomes[f"{rule}: {outcome}"] += 1
            if isinstance(outcome, Verdict):
                self.verdicts[outcome] += 1

    def add_fact(self, fact: str, *, holds: bool = True) -> None:
        """Count a situation if it is there."""
        self.facts[fact] += holds

    def gaps(self) -> list[str]:
        """Return what a run of some hundred examples meets and this one did not; empty when it was thorough."""
        verdicts = set(Verdict) - {Verdict.BROKEN}
        gaps = [f"the rule {name!r} was never played" for name in self.rules if not self.steps[name]]
        gaps += [f"no answer was {verdict.value!r}" for verdict in sorted(verdicts) if not self.verdicts[verdict]]
        gaps += [f"nobody ever {fact}" for fact in SITUATIONS if not self.facts[fact]]
        if self.stale_share < LEAST_STALE:
            gaps.append(f"only {self.stale_share:.0%} of the settles were stale")
        return gaps

    def __str__(self) -> str:
        stale = f"{self.settles.total()} settles of which {self.stale_share:.0%} were stale"
        lines = [
            f"{self.examples} examples, {self.steps.total()} steps, {stale}",
            f"settles: {_list(self.settles)}",
            f"verdicts: {_list(self.verdicts)}",
            f"situations: {_list(self.facts)}",
            f"rules: {_list(self.steps)}",
            f"outcomes: {_list(self.outcomes)}",
        ]
        return "\n".join(lines)


def _list(counts: "Counter[str] | Counter[Verdict]") -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
