"""Retry policies: when a failed task is tried again."""

import functools
import math
import sys
from datetime import timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncetask_core.errors import ConfigurationError
from oncetask_core.retry import (
    DEFAULT_CLEANUP_RETRY,
    DEFAULT_RETRY,
    ByExceptionPolicy,
    ExponentialBackoffPolicy,
    FixedDelayPolicy,
    NoRetryPolicy,
    RetryPolicy,
    check_attempts,
    check_policy,
)

ERROR = RuntimeError("no")
UNLIMITED = ExponentialBackoffPolicy(max_attempts=0)


def delays(policy: RetryPolicy, count: int, *, chance: float = 0.0) -> list[float | None]:
    """Return the delays in seconds after each of the first attempts."""
    found = [policy.delay_after(number, ERROR, chance=chance) for number in range(1, count + 1)]
    return [None if delay is None else delay.total_seconds() for delay in found]


def test_default_policy() -> None:
    """Three attempts, after one second and two."""
    assert delays(DEFAULT_RETRY, 4) == [1, 2, None, None]


def test_default_policy_of_clean_ups() -> None:
    """Five attempts, and a higher cap."""
    assert delays(DEFAULT_CLEANUP_RETRY, 6) == [1, 2, 4, 8, None, None]
    assert DEFAULT_CLEANUP_RETRY.max_delay == timedelta(minutes=10)


def test_exponential_delays_double_up_to_their_cap() -> None:
    """256 s, then 300 s for ever."""
    assert delays(UNLIMITED, 11) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_cap_holds_from_the_first_delay() -> None:
    """A base above the cap is cut, too."""
    assert delays(ExponentialBackoffPolicy(base_delay=60, max_delay=5), 2) == [5, 5]


@pytest.mark.parametrize("multiplier", [1e30, 1.7e308, 10**300, 2, 1.0000001, 1.5])
@pytest.mark.parametrize("attempts", [1, 2, 3, 50, 10_000, 10**9, 10**18])
def test_delays_never_overflow(multiplier: float, attempts: int) -> None:
    """Whatever the multiplier and however many attempts: between base and cap."""
    policy = ExponentialBackoffPolicy(max_attempts=0, multiplier=multiplier, max_delay=timedelta(days=3650))

    delay = policy.delay_after(attempts, ERROR, chance=0.0)

    assert delay is not None
    assert timedelta(seconds=1) <= delay <= timedelta(days=3650)


@given(
    base=st.integers(0, 10**9),
    cap=st.integers(0, 10**12),
    factor=st.sampled_from([1, 1.0, 1.25, 1.5, 2, 2.0, 3, 10.0, 1e30]),
    attempts=st.integers(1, 60),
)
def test_delays_are_exact(*, base: int, cap: int, factor: float, attempts: int) -> None:
    """The delay is the product of fractions, rounded to microseconds, and at most the cap."""
    policy = ExponentialBackoffPolicy(
        max_attempts=0,
        base_delay=timedelta(microseconds=base),
        max_delay=timedelta(microseconds=cap),
        multiplier=factor,
    )

    delay = policy.delay_after(attempts, ERROR, chance=0.0)

    assert delay is not None
    exact = min(Fraction(base) * Fraction(factor) ** (attempts - 1), Fraction(cap))
    assert abs(delay / timedelta(microseconds=1) - exact) <= 1 + exact / 10**12


@pytest.mark.parametrize(("base", "multiplier"), [(1, 1), (1, 1.0), (0, 2)])
def test_delays_that_cannot_grow_stay(base: int, multiplier: float) -> None:
    """A multiplier of one, or nothing to multiply."""
    policy = ExponentialBackoffPolicy(max_attempts=0, base_delay=base, multiplier=multiplier)

    assert delays(policy, 3) == [base, base, base]


def test_no_attempt_counts_as_the_first() -> None:
    """A policy that is asked too early answers as after the first attempt."""
    assert UNLIMITED.delay_after(0, ERROR, chance=0.0) == timedelta(seconds=1)


@pytest.mark.parametrize(
    "policy", [ExponentialBackoffPolicy(jitter=0.5, base_delay=8), FixedDelayPolicy(jitter=0.5, delay=8)]
)
def test_jitter_only_shortens(policy: RetryPolicy) -> None:
    """By up to its fraction, so that a cap stays a cap."""
    assert policy.delay_after(1, ERROR, chance=0.0) == timedelta(seconds=8)
    assert policy.delay_after(1, ERROR, chance=0.5) == timedelta(seconds=6)
    assert policy.delay_after(1, ERROR, chance=math.nextafter(1, 0)) == timedelta(seconds=4)


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.integers(1, 30))
def test_jitter_stays_within_its_bounds(jitter: float, chance: float, attempts: int) -> None:
    """Never longer than without, never shorter than its fraction allows."""
    plain = UNLIMITED.delay_after(attempts, ERROR, chance=0.0)
    spread = ExponentialBackoffPolicy(max_attempts=0, jitter=jitter).delay_after(attempts, ERROR, chance=chance)

    assert plain is not None
    assert spread is not None
    assert plain * (1 - jitter) - timedelta(microseconds=1) <= spread <= plain


def test_fixed_delays_are_equal() -> None:
    """Until the attempts are used up."""
    assert delays(FixedDelayPolicy(delay=timedelta(minutes=1)), 3) == [60, 60, None]
    assert delays(FixedDelayPolicy(max_attempts=0), 3) == [0, 0, 0]


def test_no_retry_never_retries() -> None:
    """One attempt, whatever it ended with."""
    assert delays(NoRetryPolicy(), 2) == [None, None]


@pytest.mark.parametrize(
    "policy", [ExponentialBackoffPolicy(give_up_on=(LookupError,)), FixedDelayPolicy(give_up_on=(LookupError,))]
)
def test_some_errors_are_final(policy: RetryPolicy) -> None:
    """An error of such a type, subclasses included, ends the attempts."""
    assert policy.delay_after(1, KeyError("k"), chance=0.0) is None
    assert policy.delay_after(1, ERROR, chance=0.0) is not None


def test_policy_is_chosen_by_the_error() -> None:
    """The first rule whose type matches decides; the others get the default."""
    policy = ByExceptionPolicy(
        {KeyError: NoRetryPolicy(), LookupError: FixedDelayPolicy(delay=7)}, otherwise=FixedDelayPolicy(delay=9)
    )

    assert policy.delay_after(1, KeyError("k"), chance=0.0) is None
    assert policy.delay_after(1, IndexError("i"), chance=0.0) == timedelta(seconds=7)
    assert policy.delay_after(1, ERROR, chance=0.0) == timedelta(seconds=9)
    assert ByExceptionPolicy({}).delay_after(1, ERROR, chance=0.0) == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("policy", "settings", "word"),
    [
        (ExponentialBackoffPolicy, {"max_attempts": -1}, "max_attempts"),
        (ExponentialBackoffPolicy, {"max_attempts": True}, "max_attempts"),
        (ExponentialBackoffPolicy, {"max_attempts": 2.0}, "max_attempts"),
        (ExponentialBackoffPolicy, {"base_delay": -1}, "base_delay"),
        (ExponentialBackoffPolicy, {"max_delay": math.nan}, "max_delay"),
        (ExponentialBackoffPolicy, {"multiplier": 0.5}, "multiplier"),
        (ExponentialBackoffPolicy, {"multiplier": math.inf}, "multiplier"),
        (ExponentialBackoffPolicy, {"multiplier": math.nan}, "multiplier"),
        (ExponentialBackoffPolicy, {"multiplier": 10**400}, "multiplier"),
        (ExponentialBackoffPolicy, {"multiplier": True}, "multiplier"),
        (ExponentialBackoffPolicy, {"multiplier": "2"}, "multiplier"),
        (ExponentialBackoffPolicy, {"jitter": 1.5}, "jitter"),
        (ExponentialBackoffPolicy, {"jitter": math.nan}, "jitter"),
        (ExponentialBackoffPolicy, {"jitter": True}, "jitter"),
        (FixedDelayPolicy, {"jitter": -0.1}, "jitter"),
        (FixedDelayPolicy, {"jitter": "0"}, "jitter"),
        (FixedDelayPolicy, {"delay": math.inf}, "delay"),
        (FixedDelayPolicy, {"max_attempts": "3"}, "max_attempts"),
        (FixedDelayPolicy, {"give_up_on": "x"}, "give_up_on"),
        (FixedDelayPolicy, {"give_up_on": [ValueError]}, "give_up_on"),
        (FixedDelayPolicy, {"give_up_on": (ValueError, "x")}, "give_up_on"),
        (FixedDelayPolicy, {"give_up_on": ValueError()}, "give_up_on"),
        (ExponentialBackoffPolicy, {"give_up_on": (int,)}, "give_up_on"),
        (ByExceptionPolicy, {"rules": None}, "rules"),
        (ByExceptionPolicy, {"rules": [(ValueError, NoRetryPolicy())]}, "rules"),
        (ByExceptionPolicy, {"rules": {5: NoRetryPolicy()}}, "exception type"),
        (ByExceptionPolicy, {"rules": {"ValueError": NoRetryPolicy()}}, "exception type"),
        (ByExceptionPolicy, {"rules": {ValueError: NoRetryPolicy}}, "ValueError"),
        (ByExceptionPolicy, {"rules": {ValueError: None}}, "ValueError"),
        (ByExceptionPolicy, {"rules": {}, "otherwise": "x"}, "otherwise"),
        (ByExceptionPolicy, {"rules": {}, "otherwise": FixedDelayPolicy}, "otherwise"),
    ],
)
def test_settings_out_of_bounds_are_refused(policy: Any, settings: dict[str, Any], word: str) -> None:
    """At once, with value, rule and way out."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        policy(**settings)

    assert caught.value.remedy
    assert word in caught.value.rule


def test_settings_at_their_bounds_are_fine() -> None:
    """The largest float multiplies, and a jitter of one may leave no delay at all."""
    policy = ExponentialBackoffPolicy(max_attempts=0, multiplier=sys.float_info.max, jitter=1)

    assert policy.delay_after(9, ERROR, chance=0.0) == timedelta(minutes=5)
    assert policy.delay_after(9, ERROR, chance=1.0) == timedelta(0)


@pytest.mark.parametrize("final", [ValueError, (ValueError, (KeyError, OSError)), ()])
def test_errors_are_given_as_to_except(final: Any) -> None:
    """One type, or a tuple that may contain tuples."""
    policy = FixedDelayPolicy(give_up_on=final)

    assert policy.delay_after(1, ERROR, chance=0.0) == timedelta(0)
    assert (policy.delay_after(1, ValueError(), chance=0.0) is None) == bool(final)


class OwnPolicy:
    """What delays without a keyword would be."""

    def delay_after(self, attempts: int, error: BaseException) -> timedelta | None: ...


class EagerPolicy:
    """Asks for its attempts by another name, which does not matter."""

    def delay_after(self, count: int, reason: BaseException, /, **_: object) -> timedelta | None: ...


class AsynchronousPolicy:
    """Would return a coroutine."""

    async def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None: ...


class AdaptedPolicy:
    """Is asked through a decorator, which takes more than what it decorates."""

    @functools.wraps(OwnPolicy.delay_after)
    def delay_after(self, *_: object, **__: object) -> timedelta | None: ...


class Opaque:
    """Has a method whose parameters nobody knows, like one of an extension module."""

    @property
    def delay_after(self) -> object:
        class Method:
            __signature__ = 5  # which is none

            def __call__(self, *args: object, **kwargs: object) -> None: ...

        return Method()


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (NoRetryPolicy, r"got <class '.*NoRetryPolicy'>. You passed the class itself: write NoRetryPolicy\(\)"),
        (OwnPolicy, r"write OwnPolicy\(\)"),
        (int, "has a method delay_after"),
        (None, "has a method delay_after.*got None"),
        (SimpleNamespace(delay_after=5), "has a method delay_after"),
        (OwnPolicy(), r"delay_after\(attempts: int, error: BaseException\).*refuses; got .*OwnPolicy object"),
        (AsynchronousPolicy(), "plain method"),
    ],
)
def test_what_cannot_be_asked_is_no_policy(policy: object, says: str) -> None:
    """A class in place of its object has the method, too, but is not asked by it."""
    with pytest.raises(ConfigurationError, match="^retry_policy .*" + says) as caught:
        check_policy(policy, "retry_policy")

    assert caught.value.value is policy
    assert caught.value.remedy


@pytest.mark.parametrize("policy", [EagerPolicy(), AdaptedPolicy(), Opaque(), Mock(), UNLIMITED])
def test_a_policy_is_what_can_be_asked(policy: object) -> None:
    """Parameters may have any name, and where Python knows none they are taken to fit."""
    check_policy(policy, "retry_policy")


def test_attempts_of_any_number_are_fine() -> None:
    """Zero means no limit."""
    assert [check_attempts(value) for value in (0, 1, 10**9)] == [0, 1, 10**9]


@pytest.mark.parametrize("policy", [DEFAULT_RETRY, FixedDelayPolicy(), NoRetryPolicy(), ByExceptionPolicy({})])
def test_every_policy_fits_the_protocol(policy: object) -> None:
    """Ours are what users' own may be."""
    assert isinstance(policy, RetryPolicy)
    assert not isinstance(object(), RetryPolicy)
