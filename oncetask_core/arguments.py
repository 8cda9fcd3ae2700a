"""What is handed to a manager, told apart from what is easily mistaken for it."""

import inspect
from collections.abc import Callable
from typing import Any

from oncetask_core.errors import ConfigurationError
from oncetask_core.query import TaskFilter
from oncetask_core.signatures import unfit_signature


def check_filter(where: object) -> TaskFilter:
    """Return the filter that is meant; None means all tasks.

    Raises:
        ConfigurationError: It is something else, such as a dict of a filter's fields.
    """
    if where is None:
        return TaskFilter()
    if not isinstance(where, TaskFilter):
        raise ConfigurationError(
            value=where,
            rule="tasks are chosen by a TaskFilter",
            remedy="Write TaskFilter(kinds=frozenset({'send_email'})), or leave it out for all tasks.",
        )
    return where


def check_event_hook(hook: Callable[..., Any]) -> None:
    """Refuse what cannot be called as `hook(event)`, or would have to be awaited.

    Raises:
        ConfigurationError: It is such a thing.
    """
    _check_hook(hook, "hook(event)", None)
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        raise ConfigurationError(
            value=hook,
            rule="an event hook is a plain function, for nobody awaits it",
            remedy="Write it without async; to await something, let it start a task: asyncio.create_task(...).",
        )


def check_lifecycle_hook(hook: Callable[..., Any]) -> None:
    """Refuse what cannot be called as `hook()`.

    Raises:
        ConfigurationError: It is such a thing.
    """
    _check_hook(hook, "hook()")


def _check_hook(hook: Callable[..., Any], call: str, *arguments: object) -> None:
    if not callable(hook):
        raise ConfigurationError(
            value=hook, rule=f"a hook is a function that is called as {call}", remedy="Pass the function itself."
        )
    signature = unfit_signature(hook, *arguments)
    if signature is not None:
        raise ConfigurationError(
            value=hook,
            rule=f"a hook is called as {call}, which its signature {signature} refuses",
            remedy="Change its parameters, or give all others defaults.",
        )
