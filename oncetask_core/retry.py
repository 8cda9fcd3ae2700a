"""Retry policies: after how long a failed task is tried again, or that it is not."""

import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, runtime_checkable

from oncetask_core.errors import ConfigurationError, shown
from oncetask_core.limits import check_duration
from oncetask_core.signatures import unfit_signature

Errors = tuple[type[BaseException], ...]
NO_DELAY = timedelta(0)


@runtime_checkable
class RetryPolicy(Protocol):
    """Decides about the next attempt. Pure: all that it may depend on comes in."""

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Return how long to wait before the next attempt, or None to give up.

        Args:
            attempts: How many attempts there were, the one that failed included; at least 1.
            error: What the attempt ended with; a `LeaseExpiredError` when its worker vanished.
            chance: A random number, 0 <= chance < 1, for jitter.
        """
        ...


def check_policy(value: object, name: str) -> None:
    """Refuse what is no retry policy, or cannot be asked as one.

    Args:
        value: An object with a method `delay_after(attempts, error, *, chance)`; where Python cannot tell the
            parameters of that method, they are taken to fit.
        name: What the policy is called in the error.

    Raises:
        ConfigurationError: It has no such method, or is a class in place of an object.
    """
    method = getattr(value, "delay_after", None)
    if not callable(method) or inspect.iscoroutinefunction(method):
        raise ConfigurationError(
            value=value,
            rule=f"{name} has a method delay_after(attempts, error, *, chance)",
            remedy="Use ExponentialBackoffPolicy(), FixedDelayPolicy(), NoRetryPolicy() or your own; "
            "delay_after is a plain method, without async.",
        )
    if isinstance(value, type):
        raise ConfigurationError(
            value=value,
            rule=f"{name} is a policy, made by calling its class",
            remedy=f"You passed the class itself: write {value.__name__}().",
        )
    signature = unfit_signature(method, 1, ValueError(), chance=0.0)
    if signature is not None:
        raise ConfigurationError(
            value=value,
            rule=f"{name} is asked as delay_after(attempts, error, chance=...), which delay_after{signature} refuses",
            remedy="Write `def delay_after(self, attempts, error, *, chance)`.",
        )


def check_attempts(value: object, name: str = "max_attempts") -> int:
    """Return `value` if it is a limit of attempts: 1 or more, or 0 for no limit.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(
            value=value,
            rule=f"{name} is the total number of attempts, an int of at least 1, or 0 for no limit",
            remedy="Use NoRetryPolicy() for a single attempt.",
        )
    return value


def _check_errors(value: object, name: str) -> None:
    if not _are_errors(value):
        raise ConfigurationError(
            value=value,
            rule=f"{name} is a tuple of exception types",
            remedy="Write the classes themselves: (ValueError, KeyError), or () for none.",
        )


def _are_errors(value: object) -> bool:
    """Return whether `except` would take `value`: an exception type, or a tuple of such."""
    if isinstance(value, tuple):
        return all(_are_errors(member) for member in value)
    return isinstance(value, type) and issubclass(value, BaseException)


def _check_fraction(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(
            value=value,
            rule=f"{name} is a fraction from 0 to 1 of the delay",
            remedy="0 means none; 0.1 spreads delays by up to 10 %.",
        )


def _spread(delay: timedelta, jitter: float, chance: float) -> timedelta:
    """Return the delay shortened by up to the fraction `jitter`: a cap stays a cap."""
    return delay * (1 - jitter * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialBackoffPolicy:
    """Wait `base_delay`, then `multiplier` times as long after each further failure, never above `max_delay`.

    Args:
        max_attempts: The total number of attempts, retries included; 0 means no limit.
        base_delay: After the first failure; a timedelta or seconds.
        max_delay: The cap, from the first delay on.
        multiplier: At least 1.
        jitter: The fraction of each delay that is left to chance, 0 to 1.
        give_up_on: Exception types after which no further attempt is made.

    Raises:
        ConfigurationError: A setting is out of bounds.
    """

    max_attempts: int = 3
    base_delay: timedelta | float = timedelta(seconds=1)
    max_delay: timedelta | float = timedelta(minutes=5)
    multiplier: float = 2.0
    jitter: float = 0.0
    give_up_on: Errors = ()

    def __post_init__(self) -> None:
        check_attempts(self.max_attempts)
        object.__setattr__(self, "base_delay", check_duration(self.base_delay, "base_delay"))
        object.__setattr__(self, "max_delay", check_duration(self.max_delay, "max_delay"))
        _check_fraction(self.jitter, "jitter")
        _check_errors(self.give_up_on, "give_up_on")
        if not _is_factor(self.multiplier):
            raise ConfigurationError(
                value=self.multiplier,
                rule="multiplier is a finite number of at least 1",
                remedy="Use FixedDelayPolicy for equal delays.",
            )

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Return the next delay, or None when the attempts are used up or the error is final."""
        if _is_final(self.max_attempts, self.give_up_on, attempts=attempts, error=error):
            return None
        base, cap = check_duration(self.base_delay, "base_delay"), check_duration(self.max_delay, "max_delay")
        return _spread(_grown(base, cap, factor=self.multiplier, steps=max(attempts, 1) - 1), self.jitter, chance)


def _is_factor(value: object) -> bool:
    """Return whether `value` is a number from 1 to the largest float; an int may be larger than any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= sys.float_info.max


def _grown(base: timedelta, cap: timedelta, *, factor: float, steps: int) -> timedelta:
    """Return `base * factor ** steps`, at most `cap`, exactly and without overflow."""
    if base >= cap or factor == 1 or not base:
        return min(base, cap)
    if steps * math.log(factor) >= math.log(cap / base) + 1:
        return cap
    return min(base * factor**steps, cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedDelayPolicy:
    """Wait the same `delay` after every failure.

    Args:
        delay: A timedelta or seconds; 0 means at once.
        max_attempts: The total number of attempts, retries included; 0 means no limit.
        jitter: The fraction of each delay that is left to chance, 0 to 1.
        give_up_on: Exception types after which no further attempt is made.

    Raises:
        ConfigurationError: A setting is out of bounds.
    """

    delay: timedelta | float = NO_DELAY
    max_attempts: int = 3
    jitter: float = 0.0
    give_up_on: Errors = ()

    def __post_init__(self) -> None:
        check_attempts(self.max_attempts)
        object.__setattr__(self, "delay", check_duration(self.delay, "delay"))
        _check_fraction(self.jitter, "jitter")
        _check_errors(self.give_up_on, "give_up_on")

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Return the delay, or None when the attempts are used up or the error is final."""
        if _is_final(self.max_attempts, self.give_up_on, attempts=attempts, error=error):
            return None
        return _spread(check_duration(self.delay, "delay"), self.jitter, chance)


@dataclass(frozen=True, slots=True)
class NoRetryPolicy:
    """One attempt. It counts as used when the worker vanishes during it, too."""

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:  # noqa: ARG002 - the protocol's names
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class ByExceptionPolicy:
    """Choose a policy by the type of the error; the first rule whose type matches decides.

    Args:
        rules: Policies by exception type, in order.
        otherwise: The policy for everything else.

    Raises:
        ConfigurationError: A rule is not for an exception type, or what should be a policy is none.
    """

    rules: Mapping[type[BaseException], RetryPolicy]
    otherwise: RetryPolicy = field(default_factory=ExponentialBackoffPolicy)

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping):
            raise ConfigurationError(
                value=self.rules,
                rule="rules is a mapping of exception types to policies",
                remedy="Write {ConnectionError: FixedDelayPolicy(delay=5)}.",
            )
        for type_, policy in self.rules.items():
            if not _are_errors(type_):
                raise ConfigurationError(
                    value=type_,
                    rule="each rule is for an exception type",
                    remedy="Write the class itself, as in {ConnectionError: FixedDelayPolicy(delay=5)}.",
                )
            check_policy(policy, f"the policy for {shown(type_)}")
        check_policy(self.otherwise, "otherwise")

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Return what the chosen policy says."""
        for type_, policy in self.rules.items():
            if isinstance(error, type_):
                return policy.delay_after(attempts, error, chance=chance)
        return self.otherwise.delay_after(attempts, error, chance=chance)


def _is_final(max_attempts: int, give_up_on: Errors, *, attempts: int, error: BaseException) -> bool:
    return isinstance(error, give_up_on) or (max_attempts != 0 and attempts >= max_attempts)


DEFAULT_RETRY = ExponentialBackoffPolicy()
"""Three attempts, after 1 s and 2 s."""

DEFAULT_CLEANUP_RETRY = ExponentialBackoffPolicy(max_attempts=5, max_delay=timedelta(minutes=10))
"""Five attempts of the clean-up handler, after 1, 2, 4 and 8 s."""
