"""What a handler raises to steer its task. Signals are not errors: they say what should happen next.

Each is an `Exception`, so that `finally` blocks and context managers of the handler run as usual.
"""

from datetime import timedelta

from oncetask_core.limits import check_duration


class Signal(Exception):  # noqa: N818 - a signal is not an error; its name says what happens next
    """The root of the signals."""


class RetryAfter(Signal):
    """This attempt failed; try again after `delay`, if the retry policy allows another attempt at all.

    Args:
        delay: A timedelta, or seconds as int or float; not negative.
        reason: Recorded in the task's error history.
    """

    def __init__(self, delay: timedelta | float, reason: str = "asked to be retried") -> None:
        self.delay = check_duration(delay, "delay")
        self.reason = reason
        super().__init__(reason)


class Snooze(Signal):
    """Nothing is wrong, but it is too early: run again after `delay`. No attempt is charged.

    Args:
        delay: A timedelta, or seconds as int or float; not negative.
    """

    def __init__(self, delay: timedelta | float) -> None:
        self.delay = check_duration(delay, "delay")
        super().__init__(f"snoozed for {self.delay}")


class GiveUp(Signal):
    """This attempt failed and no further attempt would help: end the task as failed now.

    Args:
        reason: Recorded in the task's error history.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
