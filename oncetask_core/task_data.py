"""What a payload class has to offer, and how a payload becomes a task to be inserted."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, get_args, get_origin

import msgspec

from oncetask_core.errors import InvalidTaskError
from oncetask_core.limits import (
    check_headers,
    check_id,
    check_kind,
    check_priority,
    check_queue,
    check_resource_key,
    check_time,
)
from oncetask_core.payload import encode_payload
from oncetask_core.recurrence import Recurrence, validate
from oncetask_core.task import DEFAULT_QUEUE, NewTask, StoreNow, When

R_co = TypeVar("R_co", covariant=True)


class TaskData(Protocol, Generic[R_co]):
    """A payload that can become a task; `R` is what its handler returns.

    Any class fits that has these two members: dataclasses (with slots, too), attrs classes, msgspec Structs,
    pydantic models. Inheriting from `TaskData[R]` is optional and makes `Created.wait()` typed.

    Optional methods, looked up by name:

    - `resource_key() -> str | None`: tasks of one kind with the same key run one at a time.
    - `scheduled_time() -> datetime | None`: not before this time (aware).
    - `recurrence() -> Recurrence | None`: the task becomes a generator of occurrences.

    Optional class attribute, a bool: `strict_order = True` makes the tasks of a key run in order of creation.
    """

    kind: ClassVar[str]
    """Names the kind; stored with the task, so it must stay the same across releases."""

    def idempotent_id(self) -> str:
        """Return the id: the same for the same piece of work, however often it is created."""
        ...


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a creator may say beside the payload."""

    when: When | None = None
    priority: int = 0
    queue: str = DEFAULT_QUEUE
    headers: Mapping[str, str] = {}


class Identity(msgspec.Struct, frozen=True):
    """The random identities of one creation."""

    run_uid: str
    created_by: str


def new_task(data: TaskData[object], wishes: Wishes, identity: Identity) -> NewTask:
    """Return the task that `data` describes, fully checked and encoded.

    Raises:
        InvalidTaskError: A part of it could not be stored or run; names value, rule and way out.
        InvalidRecurrenceError: Its recurrence rule is malformed, out of bounds or empty.
    """
    _check_payload(data)
    rule = _recurrence_of(data)
    scheduled = _scheduled_time_of(data)
    if rule is not None and (scheduled is not None or wishes.when is not None):
        raise InvalidTaskError(
            value=scheduled if scheduled is not None else wishes.when,
            rule="a task has either a recurrence or a time, not both",
            remedy="Move the time into the recurrence's dtstart.",
        )
    start = None if rule is None else validate(rule)
    return NewTask(
        id=check_id(_call(data, "idempotent_id", required=True)),
        kind=kind_of(data),
        payload=encode_payload(data),
        run_uid=identity.run_uid,
        created_by=identity.created_by,
        wait_until=_when(scheduled, wishes) if start is None else start.slot,
        resource_key=_resource_key_of(data),
        strict_order=_strict_order_of(data),
        queue=check_queue(wishes.queue),
        priority=check_priority(wishes.priority),
        headers=check_headers(wishes.headers),
        recurrence=rule,
        slots_used=0 if start is None else start.used,
    )


def several(payloads: Iterable[TaskData[Any]]) -> Iterable[TaskData[Any]]:
    """Return the payloads.

    Raises:
        InvalidTaskError: They are no collection, or one payload, whose own members are not meant.
    """
    is_one = hasattr(payloads, "idempotent_id") or isinstance(payloads, str | bytes | Mapping)
    if is_one or not isinstance(payloads, Iterable):
        raise InvalidTaskError(
            value=payloads,
            rule="several payloads are given as a list or another collection",
            remedy="Put one into a list, or pass it to create_task.",
        )
    return payloads


def _check_payload(data: object) -> None:
    """Refuse what is so far from a payload that the rules for its members would not help."""
    if isinstance(data, type):
        raise InvalidTaskError(
            value=data,
            rule="a payload is an object, and not its class",
            remedy=f"Write {data.__name__}(...), with what the handler needs.",
        )
    if not hasattr(data, "kind") and not hasattr(data, "idempotent_id"):
        raise InvalidTaskError(
            value=data,
            rule="a payload is an object of a class of your own, such as a dataclass, with a kind and an idempotent_id",
            remedy="Give the class `kind: ClassVar[str] = 'send_email'` and `def idempotent_id(self) -> str`.",
        )


def kind_of(data: object) -> str:
    """Return the kind that a payload or a payload class names.

    Raises:
        InvalidTaskError: It names none.
    """
    kind = getattr(data, "kind", None)
    if not isinstance(kind, str):
        raise InvalidTaskError(
            value=data,
            rule="a payload class names its kind: kind: ClassVar[str] = 'send_email'",
            remedy="Add the class attribute `kind`.",
        )
    return check_kind(kind)


def result_type_of(type_: type[object]) -> object | None:
    """Return the R of a payload class that inherits from `TaskData[R]`; None where it does not say."""
    for base in getattr(type_, "__orig_bases__", ()):
        if get_origin(base) is TaskData:
            return cast(object, get_args(base)[0])
    return None


def _call(data: object, name: str, *, required: bool = False) -> object:
    method = getattr(data, name, None)
    if method is None and not required:
        return None
    if not callable(method):
        rename = "" if method is None else " Rename the field of this name."
        raise InvalidTaskError(
            value=method,
            rule=f"{name} of {type(data).__name__} is a method without parameters",
            remedy=f"Write `def {name}(self)`.{rename}",
        )
    return cast(object, method())


def _resource_key_of(data: object) -> str | None:
    key = _call(data, "resource_key")
    return None if key is None or key == "" else check_resource_key(key)


def _strict_order_of(data: object) -> bool:
    strict = getattr(data, "strict_order", False)
    if not isinstance(strict, bool):
        raise InvalidTaskError(
            value=strict,
            rule=f"strict_order of {type(data).__name__} is True or False, and no method",
            remedy="Write `strict_order: ClassVar[bool] = True`, or a property where it differs from task to task.",
        )
    return strict


def _scheduled_time_of(data: object) -> datetime | None:
    time = _call(data, "scheduled_time")
    return None if time is None else check_time(time, "scheduled_time()")


def _recurrence_of(data: object) -> Recurrence | None:
    rule = _call(data, "recurrence")
    if rule is None:
        return None
    if not isinstance(rule, Recurrence):
        raise InvalidTaskError(
            value=rule,
            rule="recurrence() returns a Recurrence or None",
            remedy="Build it with Recurrence(rrule=..., dtstart=...).",
        )
    return rule


def _when(scheduled: datetime | None, wishes: Wishes) -> When:
    if scheduled is not None and wishes.when is not None:
        raise InvalidTaskError(
            value=wishes.when,
            rule="a task is scheduled by scheduled_time() or by delay/at, not by both",
            remedy="Leave out delay and at, or let scheduled_time() return None.",
        )
    if wishes.when is not None:
        return wishes.when
    return StoreNow() if scheduled is None else scheduled
