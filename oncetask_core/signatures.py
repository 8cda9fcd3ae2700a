"""Whether a function of the caller's own can be called as it is going to be."""

import inspect
from collections.abc import Callable
from typing import Any


def unfit_signature(function: Callable[..., Any], *arguments: object, **named: object) -> inspect.Signature | None:
    """Return the signature of a function that cannot be called with these arguments.

    None says that it can, or that Python does not know its parameters, as of some functions of extension modules. Of a
    decorated function those count that the decorator takes.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return signature
    return None
