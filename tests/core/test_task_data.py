"""From a payload to a task that can be inserted."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from oncetask_core.errors import InvalidTaskError
from oncetask_core.recurrence import Recurrence
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.task_data import Identity, TaskData, Wishes, kind_of, new_task, result_type_of
from tests.core.records import NOW

T = TypeVar("T")
IDENTITY = Identity(run_uid="run 1", created_by="call 1")
RULE = Recurrence(rrule="FREQ=DAILY", dtstart=NOW)


@dataclass(frozen=True, slots=True)
class Letter(TaskData[int]):
    """A payload that says no more than it has to."""

    kind: ClassVar[str] = "letter"
    to: str = "Ada"

    def idempotent_id(self) -> str:
        return f"letter:{self.to}"


@dataclass(frozen=True)
class Parcel:
    """A payload that says everything; it inherits from nobody."""

    kind: ClassVar[str] = "parcel"
    strict_order: ClassVar[bool] = True
    time: datetime | None = None
    rule: Any = None
    key: str | None = "van"

    def idempotent_id(self) -> str:
        return "parcel"

    def resource_key(self) -> str | None:
        return self.key

    def scheduled_time(self) -> datetime | None:
        return self.time

    def recurrence(self) -> Any:
        return self.rule


def made(data: TaskData[Any], **wishes: Any) -> NewTask:
    """Return the task of a payload."""
    return new_task(data, Wishes(**wishes), IDENTITY)


def test_plain_payload_is_due_at_once() -> None:
    """Everything optional has a default."""
    assert made(Letter()) == NewTask(
        id="letter:Ada", kind="letter", payload='{"to":"Ada"}', run_uid="run 1", created_by="call 1"
    )


def test_payload_may_say_everything() -> None:
    """Key, order and time come from the payload, the rest from whoever creates it."""
    task = made(Parcel(time=NOW), priority=-3, queue="slow", headers={"a": "b"})

    assert (task.resource_key, task.strict_order, task.wait_until) == ("van", True, NOW)
    assert (task.priority, task.queue, task.headers) == (-3, "slow", {"a": "b"})


@pytest.mark.parametrize("strict", [True, False])
def test_order_may_differ_from_task_to_task(*, strict: bool) -> None:
    """A property says it for each."""

    class Choosy(Letter):
        @property
        def strict_order(self) -> bool:
            return strict

    assert made(Choosy()).strict_order is strict


@pytest.mark.parametrize("key", [None, ""])
def test_empty_key_is_none(key: str | None) -> None:
    """A task without a key takes part in no exclusion."""
    assert made(Parcel(key=key)).resource_key is None


def test_times_become_utc() -> None:
    """Whatever the zone of the payload's time."""
    there = timezone(timedelta(hours=5, minutes=30))

    wait_until = made(Parcel(time=NOW.astimezone(there))).wait_until

    assert isinstance(wait_until, datetime)
    assert (wait_until, wait_until.tzinfo) == (NOW, UTC)


def test_creator_may_say_when() -> None:
    """A delay or a time, where the payload has none of its own."""
    assert made(Parcel(), when=StoreNow(timedelta(seconds=5))).wait_until == StoreNow(timedelta(seconds=5))
    assert made(Letter(), when=NOW).wait_until == NOW


def test_recurrence_makes_a_generator() -> None:
    """It waits for its first slot."""
    task = made(Parcel(rule=RULE))

    assert (task.recurrence, task.wait_until, task.slots_used) == (RULE, NOW, 0)


@pytest.mark.parametrize(
    ("data", "wishes", "word"),
    [
        (Parcel(time=NOW, rule=RULE), {}, "either a recurrence or a time"),
        (Parcel(rule=RULE), {"when": NOW}, "either a recurrence or a time"),
        (Parcel(time=NOW), {"when": NOW}, "by scheduled_time"),
        (Parcel(time=NOW.replace(tzinfo=None)), {}, "scheduled_time"),
        (Parcel(rule="FREQ=DAILY"), {}, "returns a Recurrence or None"),
        (Letter(), {"priority": 11}, "priority"),
        (Letter(), {"queue": ""}, "queue"),
        (Letter(), {"headers": {"a": 1}}, "header"),
        (Letter(to="\x00"), {}, "id"),
        (Parcel(key="x" * 600), {}, "key"),
    ],
)
def test_what_no_store_could_keep_is_refused(data: TaskData[Any], wishes: dict[str, Any], word: str) -> None:
    """Before anything is written, with value, rule and way out."""
    with pytest.raises(InvalidTaskError, match=word) as caught:
        made(data, **wishes)

    assert caught.value.remedy


class NoKind:
    """Names no kind."""

    def idempotent_id(self) -> str:
        return "id"


class NumberedKind(NoKind):
    """Names its kind by a number."""

    kind = 7


class NoMethod:
    """Has a field where a method is meant."""

    kind = "letter"
    idempotent_id = "id"


class NoId:
    """Has no id at all."""

    kind = "letter"


@pytest.mark.parametrize("data", [NoKind(), NumberedKind()])
def test_payload_without_kind_is_refused(data: Any) -> None:
    """The kind is what the handler is found by."""
    with pytest.raises(InvalidTaskError, match="names its kind"):
        kind_of(data)


@pytest.mark.parametrize("data", [NoMethod(), NoId()])
def test_payload_without_id_is_refused(data: Any) -> None:
    """The id is the idempotency key of the creation."""
    with pytest.raises(InvalidTaskError, match="method without parameters"):
        made(data)


def test_result_type_is_told_by_the_class() -> None:
    """Where it inherits from `TaskData[R]`."""
    assert result_type_of(Letter) is int
    assert result_type_of(Parcel) is None


class Tagged(Letter):
    """Inherits the kind, and says nothing about the result itself."""


class Envelope(Generic[T]):
    """A generic base that has nothing to do with tasks."""


class Labelled(Envelope[bytes], TaskData[str]):
    """Inherits from two generic bases."""


def test_result_type_is_found_among_other_bases() -> None:
    """Whatever else the class inherits from."""
    assert result_type_of(Labelled) is str


def test_result_type_of_a_subclass_is_inherited() -> None:
    """A subclass of a payload class completes with the same type."""
    assert result_type_of(Tagged) is int
