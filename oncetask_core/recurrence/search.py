"""How much work one question about a rule may take, counted and not timed: the same question always ends alike."""

from oncetask_core.errors import InvalidRecurrenceError

MOST_STEPS = 20_000
"""About 20 ms: a step looks at a day, at a period, or at a time of day."""


class Search:
    """The steps that are left for one question.

    Args:
        rule: The rule's text, for the error.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.steps = MOST_STEPS

    def renew(self) -> None:
        """Begin anew, for the next question."""
        self.steps = MOST_STEPS

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            InvalidRecurrenceError: None are left.
        """
        self.steps -= steps
        if self.steps < 0:
            raise InvalidRecurrenceError(
                value=self.rule,
                rule=f"{MOST_STEPS:,} steps of a search find a rule's next occurrence, and all that COUNT counts",
                remedy="Use a slower FREQ with BYHOUR, BYMINUTE and BYSECOND, a smaller INTERVAL, or UNTIL for COUNT.",
            )
