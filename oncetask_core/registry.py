"""Which handler runs which kind."""

from collections.abc import Iterator
from typing import Any

from oncetask_core.errors import ConfigurationError, DuplicateHandlerError, UnknownKindError
from oncetask_core.handlers import Handler, HandlerFunction, HandlerOptions, make_handler
from oncetask_core.limits import check_kind
from oncetask_core.task_data import kind_of, result_type_of


class Registry:
    """The handlers of one manager, one per kind."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, subject: object, function: HandlerFunction, options: HandlerOptions, *, is_group: bool) -> Handler:
        """Register the handler of a kind, given as a payload class or as a name.

        Raises:
            DuplicateHandlerError: The kind has a handler.
            ConfigurationError: The handler does not fit the kind.
        """
        kind, payload_type, result_type = kind_and_types(subject)
        if kind in self._handlers:
            sort = "a resource-key handler" if self._handlers[kind].is_group else "a single-task handler"
            raise DuplicateHandlerError(
                value=kind,
                rule=f"a kind has one handler, and this one has {sort}",
                remedy="Unregister it first, or give the other tasks a kind of their own.",
            )
        handler = make_handler(
            kind, function, options, is_group=is_group, payload_type=payload_type, result_type=result_type
        )
        self._handlers[kind] = handler
        return handler

    def remove(self, kind: str) -> None:
        """Forget the handler of a kind; what runs is finished.

        Raises:
            UnknownKindError: The kind has no handler.
        """
        self.require(kind)
        del self._handlers[kind]

    def get(self, kind: str) -> Handler | None:
        """Return the handler of a kind, or None."""
        return self._handlers.get(kind)

    def require(self, kind: str) -> Handler:
        """Return the handler of a kind.

        Raises:
            UnknownKindError: It has none.
        """
        handler = self._handlers.get(kind)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise UnknownKindError(
                value=kind,
                rule="the kind has a registered handler",
                remedy=f"Register one, or use one of the known kinds: {known}.",
            )
        return handler

    def __iter__(self) -> Iterator[Handler]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)


def kind_and_types(subject: object) -> tuple[str, Any, Any]:
    """Return the kind, the payload class and the type of results that a handler is registered for.

    Raises:
        ConfigurationError: It is neither a payload class nor the name of a kind.
    """
    if isinstance(subject, str):
        return check_kind(subject), None, None
    if isinstance(subject, type):
        return kind_of(subject), subject, result_type_of(subject)
    raise ConfigurationError(
        value=subject,
        rule="a handler is registered for a payload class or for the name of a kind",
        remedy="Pass the class itself, not an instance, and to a decorator, too: @manager.task_handler(SendEmail).",
    )
