"""Signals: what a handler raises to steer its task."""

import math
from datetime import timedelta

import pytest

from oncetask_core.errors import ConfigurationError, OncetaskError
from oncetask_core.signals import GiveUp, RetryAfter, Signal, Snooze


@pytest.mark.parametrize("signal", [RetryAfter(1), Snooze(1), GiveUp("no hope")])
def test_signals_are_exceptions_and_no_errors(signal: Signal) -> None:
    """`finally` and context managers of a handler see them; an `except OncetaskError` does not."""
    assert isinstance(signal, Exception)
    assert not isinstance(signal, OncetaskError)


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)])
def test_delays_are_durations_or_seconds(delay: timedelta | float) -> None:
    """Whichever is at hand."""
    assert RetryAfter(delay).delay == Snooze(delay).delay == timedelta(seconds=90)


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "90", True])
@pytest.mark.parametrize("signal", [RetryAfter, Snooze])
def test_impossible_delays_are_refused(signal: type[RetryAfter] | type[Snooze], delay: float) -> None:
    """Where the handler raises, not where its worker settles."""
    with pytest.raises(ConfigurationError, match="delay"):
        signal(delay)


def test_reasons_are_kept() -> None:
    """They are what the error history will say."""
    assert (str(RetryAfter(1, "busy")), RetryAfter(1, "busy").reason) == ("busy", "busy")
    assert RetryAfter(1).reason == "asked to be retried"
    assert (str(GiveUp("no hope")), GiveUp("no hope").reason) == ("no hope", "no hope")
    assert str(Snooze(90)) == "snoozed for 0:01:30"
