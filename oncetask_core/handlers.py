"""Handlers as the worker sees them: what to call, with which options, for which types."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from oncetask_core.decisions import KindRules
from oncetask_core.errors import ConfigurationError
from oncetask_core.limits import check_duration
from oncetask_core.payload import check_type, decode_payload, plain
from oncetask_core.policies import GuardedPolicy
from oncetask_core.retry import DEFAULT_CLEANUP_RETRY, DEFAULT_RETRY, RetryPolicy, check_policy
from oncetask_core.task import OnceTask

HandlerFunction = Callable[..., Any]
"""`handler(task)` or `handler(task, context)`, a coroutine function or a plain function."""


REPORT_MARGIN = timedelta(seconds=15)
"""At most so much of a lease that is not renewed is kept for stopping the handler and reporting it."""


class Failed(msgspec.Struct, frozen=True):
    """One member of a group failed, for the reason `error`; a signal (`Snooze`, `GiveUp`, ...) steers it."""

    error: BaseException


class PerTask(msgspec.Struct, frozen=True):
    """What a group handler returns to give each member an outcome of its own: a value or `Failed`, by task id.

    Raises:
        ConfigurationError: The outcomes are no mapping.
    """

    outcomes: Mapping[str, object]

    def __post_init__(self) -> None:
        if not isinstance(self.outcomes, Mapping):
            raise ConfigurationError(
                value=self.outcomes,
                rule="PerTask takes a mapping of task ids to outcomes",
                remedy="Write PerTask({task.id: ... for task in tasks}), or return one result for all without it.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerOptions:
    """How the tasks of one kind are run. Durations are timedeltas or seconds.

    Args:
        retry_policy: What follows a failure or crash of the handler.
        cancellation_handler: Runs after a task was cancelled, before it ends; always for a single task.
        cancellation_retry_policy: What follows a failure of the clean-up; it has a budget of its own.
        lease_duration: How long a worker may vanish before its tasks are given to others.
        renew_lease: Whether the lease is renewed each third of its duration while the handler runs.
        timeout: How long the handler may run, None for no limit. A lease that is not renewed bounds it: to three
            quarters of the lease, or all but 15 s of it.
        concurrency: How many calls of the handler run at once in one worker.
        max_group: How many tasks of one key a resource-key handler takes at once.
        max_crashes: After so many leases that ended without a report the task fails; 0 means no limit.

    Raises:
        ConfigurationError: An option is out of bounds.
    """

    retry_policy: RetryPolicy = DEFAULT_RETRY
    cancellation_handler: HandlerFunction | None = None
    cancellation_retry_policy: RetryPolicy = DEFAULT_CLEANUP_RETRY
    lease_duration: timedelta | float = timedelta(seconds=60)
    renew_lease: bool = True
    timeout: timedelta | float | None = timedelta(minutes=10)
    concurrency: int = 10
    max_group: int = 100
    max_crashes: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.renew_lease, bool):
            raise ConfigurationError(value=self.renew_lease, rule="renew_lease is a bool", remedy="Pass True or False.")
        _check_count(self.concurrency, "concurrency", least=1)
        _check_count(self.max_group, "max_group", least=1)
        _check_count(self.max_crashes, "max_crashes", least=0)
        check_duration(self.lease_duration, "lease_duration", positive=True)
        if self.timeout is not None:
            check_duration(self.timeout, "timeout", positive=True)
        check_policy(self.retry_policy, "retry_policy")
        check_policy(self.cancellation_retry_policy, "cancellation_retry_policy")

    @property
    def lease_for(self) -> timedelta:
        """The lease duration."""
        return check_duration(self.lease_duration, "lease_duration", positive=True)

    @property
    def time_limit(self) -> timedelta | None:
        """The handler's time limit; a lease that is not renewed bounds it, less a margin for reporting the failure."""
        limit = None if self.timeout is None else check_duration(self.timeout, "timeout", positive=True)
        if self.renew_lease:
            return limit
        bound = self.lease_for - min(self.lease_for / 4, REPORT_MARGIN)
        return bound if limit is None else min(limit, bound)


def options_named(given: Mapping[str, Any], *, is_group: bool) -> HandlerOptions:
    """Return the options that were given by name.

    Args:
        given: The options by name.
        is_group: Whether they are those of a resource-key handler.

    Raises:
        ConfigurationError: There is no option of that name, one is out of bounds, or one would have no effect.
    """
    known = [field.name for field in fields(HandlerOptions)]
    for name in given:
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            raise ConfigurationError(
                value=name,
                rule="a handler's option has one of these names: " + ", ".join(known),
                remedy=f"Did you mean {meant[0]}?" if meant else "Correct the name or leave the option out.",
            )
    if "max_group" in given and not is_group:
        raise ConfigurationError(
            value=given["max_group"],
            rule="max_group is an option of resource-key handlers: others get one task",
            remedy="Register it with resource_key_handler, or leave the option out.",
        )
    return HandlerOptions(**given)


def _check_count(value: object, name: str, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(value=value, rule=f"{name} is an int of at least {least}", remedy="Correct it.")


@dataclass(frozen=True, slots=True)
class Call:
    """A function to be called for a run."""

    function: HandlerFunction
    is_async: bool
    takes_context: bool

    def arguments(self, subject: object, context: object) -> tuple[object, ...]:
        """Return the positional arguments of the call."""
        return (subject, context) if self.takes_context else (subject,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Everything the worker knows about a kind. Also the `DataReader` of its tasks."""

    kind: str
    call: Call
    is_group: bool
    payload_type: Any
    result_type: Any
    cleanup: Call | None
    options: HandlerOptions
    rules: KindRules
    lease_for: timedelta
    time_limit: timedelta | None

    def read_payload(self, text: str) -> object:
        """Return the payload as the registered type, or as plain JSON values where none is registered."""
        return plain(text) if self.payload_type is None else decode_payload(text, self.payload_type)


def make_handler(
    kind: str,
    function: HandlerFunction,
    options: HandlerOptions,
    *,
    is_group: bool,
    payload_type: Any = None,
    result_type: Any = None,
) -> Handler:
    """Return the checked handler of a kind.

    Raises:
        ConfigurationError: The function's parameters or types do not fit; the message says which and why.
    """
    call = _make_call(function)
    hints = _hints_of(function)
    annotated = _annotated_payload(function, hints, is_group=is_group)
    chosen = payload_type if payload_type is not None else annotated
    if payload_type is not None and annotated is not None and not _takes(annotated, payload_type):
        raise ConfigurationError(
            value=function,
            rule=f"the handler of kind {kind!r} takes OnceTask[{payload_type.__name__}], not OnceTask[{annotated}]",
            remedy="Correct the annotation or register the handler for the other payload class.",
        )
    if chosen is not None:
        check_type(chosen)
    cleanup = options.cancellation_handler
    return Handler(
        kind=kind,
        call=call,
        is_group=is_group,
        payload_type=chosen,
        result_type=_checked_result_type(kind, hints, result_type),
        cleanup=None if cleanup is None else _make_call(cleanup),
        options=options,
        rules=KindRules(
            retry_policy=GuardedPolicy(options.retry_policy, kind),
            cleanup_policy=GuardedPolicy(options.cancellation_retry_policy, kind),
            has_cleanup=cleanup is not None,
            max_crashes=options.max_crashes,
        ),
        lease_for=options.lease_for,
        time_limit=options.time_limit,
    )


def _make_call(function: HandlerFunction) -> Call:
    if not callable(function):
        raise ConfigurationError(value=function, rule="a handler is a function", remedy="Pass the function itself.")
    alone = _binds(function, None)
    if not alone and not _binds(function, None, None):
        raise ConfigurationError(
            value=function,
            rule="a handler is called as handler(task) or handler(task, context)",
            remedy="Give it one or two positional parameters and defaults for all others.",
        )
    return Call(function, is_async=inspect.iscoroutinefunction(_target(function)), takes_context=not alone)


def _target(function: HandlerFunction) -> HandlerFunction:
    """Return what is really called: of an object with `__call__`, that method."""
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__


def _binds(function: HandlerFunction, *arguments: object) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _hints_of(function: HandlerFunction) -> Mapping[str, Any]:
    """Return the resolved annotations; none where a name is only known to type checkers."""
    try:
        return get_type_hints(_target(function))
    except (NameError, TypeError, AttributeError):
        return {}


def _annotated_payload(function: HandlerFunction, hints: Mapping[str, Any], *, is_group: bool) -> Any:
    first = next(iter(inspect.signature(function).parameters), None)
    annotation = hints.get(first) if first is not None else None
    if is_group and get_origin(annotation) in (list, Sequence, tuple):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not OnceTask:
        return None
    payload = get_args(annotation)[0]
    return payload if isinstance(payload, type) or get_origin(payload) is not None else None


def _takes(annotated: Any, payload_type: type) -> bool:
    """Tell whether a handler that is annotated so may be given such payloads: `OnceTask` is covariant."""
    origin = get_origin(annotated)
    if origin in (Union, UnionType):
        return any(_takes(member, payload_type) for member in get_args(annotated))
    return annotated is Any or (origin or annotated) in payload_type.__mro__


def _checked_result_type(kind: str, hints: Mapping[str, Any], declared: Any) -> Any:
    annotated = hints.get("return")
    if annotated in (None, type(None), Any, PerTask):
        return declared
    check_type(annotated)
    both_classes = isinstance(declared, type) and isinstance(annotated, type)
    if both_classes and not issubclass(annotated, declared):
        raise ConfigurationError(
            value=annotated,
            rule=f"the handler of kind {kind!r} returns {declared.__name__}, as its payload class says",
            remedy="Correct the handler's return annotation or the R of TaskData[R].",
        )
    return annotated if declared is None else declared
