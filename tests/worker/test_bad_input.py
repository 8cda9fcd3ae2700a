"""Bad input: a typed error that names the value, the rule and the way out, before anything is written."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from unittest.mock import patch

import pytest

from oncetask import (
    ConfigurationError,
    DuplicateHandlerError,
    ExponentialBackoffPolicy,
    FixedDelayPolicy,
    InputError,
    InvalidRecurrenceError,
    InvalidTaskError,
    NoRetryPolicy,
    OnceTask,
    Recurrence,
    RetryAfter,
    TaskContext,
    TaskManager,
    UnknownKindError,
)
from tests.asynchronous import asynchronous
from tests.worker.world import Job, Keyed, World

Action = Callable[[TaskManager], Awaitable[object]]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Odd:
    """A payload whose members are whatever a test wants."""

    kind: ClassVar[Any] = "odd"
    id: Any = "odd"
    key: Any = None
    time: Any = None
    rule: Any = None

    def idempotent_id(self) -> Any:
        return self.id

    def resource_key(self) -> Any:
        return self.key

    def scheduled_time(self) -> Any:
        return self.time

    def recurrence(self) -> Any:
        return self.rule


class NoKind:
    """A payload that names no kind."""

    def idempotent_id(self) -> str:
        return "x"


@dataclass(frozen=True)
class FieldForMethod:
    """A payload whose resource_key is a field."""

    kind: ClassVar[str] = "field"
    resource_key: str = "not a method"

    def idempotent_id(self) -> str:
        return "x"


class Asked(Keyed):
    """A payload whose strict_order is a method, like its resource_key."""

    def strict_order(self) -> bool:
        return False


@dataclass(frozen=True)
class Strict(Keyed):
    """A payload whose strict_order is whatever a test wants."""

    strict_order: Any = None


class Several(Job):
    """A payload that can be iterated over, as pydantic's models can."""

    def __iter__(self) -> Iterator[object]:
        return iter(())


def rule(text: str, **options: Any) -> Recurrence:
    return Recurrence(rrule=text, dtstart=options.pop("dtstart", NOON), **options)


CREATIONS: list[tuple[str, Action, type[InputError], str]] = [
    ("a NUL in the payload", lambda m: m.create_task(Job("a", "x\0y")), InvalidTaskError, "NUL"),
    ("NaN in the payload", lambda m: m.create_task(Job("a", float("nan"))), InvalidTaskError, "nan"),
    ("infinity in the payload", lambda m: m.create_task(Job("a", float("inf"))), InvalidTaskError, "inf"),
    ("a lone surrogate", lambda m: m.create_task(Job("a", "\ud800")), InvalidTaskError, "surrogate"),
    ("2 MiB of payload", lambda m: m.create_task(Job("a", "x" * 2**21)), InvalidTaskError, "bytes"),
    ("a function in the payload", lambda m: m.create_task(Job("a", len)), InvalidTaskError, "builtin_function"),
    ("a huge integer", lambda m: m.create_task(Job("a", 2**70)), InvalidTaskError, "2**63"),
    ("an id of 600 bytes", lambda m: m.create_task(Job("x" * 600)), InvalidTaskError, "512"),
    ("an empty id", lambda m: m.create_task(Job("")), InvalidTaskError, "''"),
    ("a NUL in the id", lambda m: m.create_task(Job("a\0b")), InvalidTaskError, "control"),
    ("an id that is no string", lambda m: m.create_task(Odd(id=7)), InvalidTaskError, "7"),
    ("a key of 600 bytes", lambda m: m.create_task(Keyed("a", "k" * 600)), InvalidTaskError, "512"),
    ("a naive schedule", lambda m: m.create_task(Odd(time=datetime(2030, 1, 1))), InvalidTaskError, "aware"),  # noqa: DTZ001 - wrong on purpose
    ("a naive at", lambda m: m.create_task(Job("a"), at=datetime(2030, 1, 1)), InvalidTaskError, "aware"),  # noqa: DTZ001 - wrong on purpose
    ("a negative delay", lambda m: m.create_task(Job("a"), delay=-1), InvalidTaskError, "-1"),
    ("delay and at", lambda m: m.create_task(Job("a"), delay=1, at=NOON), InvalidTaskError, "not by both"),
    ("a schedule and a delay", lambda m: m.create_task(Odd(time=NOON), delay=1), InvalidTaskError, "not by both"),
    ("a priority of 11", lambda m: m.create_task(Job("a"), priority=11), InvalidTaskError, "11"),
    ("a header that is no text", lambda m: m.create_task(Job("a"), headers={"a": 1}), InvalidTaskError, "1"),  # type: ignore[dict-item]  # wrong on purpose
    ("no kind", lambda m: m.create_task(NoKind()), InvalidTaskError, "kind"),  # type: ignore[arg-type]  # wrong on purpose
    ("a field for a method", lambda m: m.create_task(FieldForMethod()), InvalidTaskError, "method"),
    ("a rule that is no Recurrence", lambda m: m.create_task(Odd(rule="FREQ=DAILY")), InvalidTaskError, "Recurrence"),
    ("a rule and a time", lambda m: m.create_task(Odd(rule=rule("FREQ=DAILY"), time=NOON)), InvalidTaskError, "both"),
    (
        "a malformed rule",
        lambda m: m.create_task(Odd(rule=rule("FREQ=SOMETIMES"))),
        InvalidRecurrenceError,
        "SOMETIMES",
    ),
    (
        "a rule without occurrence",
        lambda m: m.create_task(Odd(rule=rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"))),
        InvalidRecurrenceError,
        "no occurrence",
    ),
    (
        "an interval of 0",
        lambda m: m.create_task(Odd(rule=rule("FREQ=DAILY;INTERVAL=0"))),
        InvalidRecurrenceError,
        "INTERVAL",
    ),
    (
        "an unknown time zone",
        lambda m: m.create_task(Odd(rule=rule("FREQ=DAILY", timezone="Mars/Olympus"))),
        InvalidRecurrenceError,
        "Mars/Olympus",
    ),
    ("a text for a payload", lambda m: m.create_task("hello"), InvalidTaskError, "dataclass"),  # type: ignore[arg-type]  # wrong on purpose
    ("nothing for a payload", lambda m: m.create_task(None), InvalidTaskError, "got None. Give the class"),  # type: ignore[arg-type]  # wrong on purpose
    ("the class of a payload", lambda m: m.create_task(Job), InvalidTaskError, "Write Job(...)"),  # type: ignore[arg-type]  # wrong on purpose
    ("the class of a payload, among several", lambda m: m.create_tasks([Job]), InvalidTaskError, "Write Job(...)"),  # type: ignore[list-item]  # wrong on purpose
    ("one payload for several", lambda m: m.create_tasks(Job("a")), InvalidTaskError, "pass it to create_task"),  # type: ignore[arg-type]  # wrong on purpose
    ("one payload with members", lambda m: m.create_tasks(Several("a")), InvalidTaskError, "pass it to create_task"),  # type: ignore[arg-type]  # wrong on purpose
    ("a text for several", lambda m: m.create_tasks("hello"), InvalidTaskError, "'hello'"),  # type: ignore[arg-type]  # wrong on purpose
    ("payloads by name", lambda m: m.create_tasks({"a": Job("a")}), InvalidTaskError, "{'a': Job("),  # type: ignore[dict-item]  # wrong on purpose
    ("nothing for several", lambda m: m.create_tasks(None), InvalidTaskError, "got None"),  # type: ignore[arg-type]  # wrong on purpose
    ("a strict_order that is a method", lambda m: m.create_task(Asked("a")), InvalidTaskError, "ClassVar[bool] = True"),
    (
        "a strict_order that is a number",
        lambda m: m.create_task(Strict("a", strict_order=1)),
        InvalidTaskError,
        "got 1",
    ),
    (
        "a strict_order that is None",
        lambda m: m.create_task(Strict("a", strict_order=None)),
        InvalidTaskError,
        "got None",
    ),
    (
        "one bad payload among good ones",
        lambda m: m.create_tasks([Job("good"), Job("x" * 600)]),
        InvalidTaskError,
        "512",
    ),
]


@pytest.mark.parametrize(("what", "action", "error", "says"), CREATIONS, ids=[row[0] for row in CREATIONS])
def test_bad_creations_write_nothing(what: str, action: Action, *, error: type[InputError], says: str) -> None:
    """What cannot be stored or run is refused whole, with value, rule and way out."""

    @asynchronous
    async def check() -> None:
        world = World()
        with pytest.raises(error) as caught:
            await action(world.manager)

        assert says in str(caught.value), what
        assert caught.value.rule in str(caught.value)
        assert caught.value.remedy in str(caught.value)
        assert caught.value.remedy
        assert await world.manager.count_tasks() == 0

    check()


def no_parameters() -> None: ...


def three_parameters(a: object, b: object, c: object) -> None: ...


async def other_payload(task: OnceTask[Keyed]) -> None: ...


async def unstorable_result(task: OnceTask[Job]) -> Callable[[], None]:
    raise NotImplementedError


async def fine(task: OnceTask[Job], context: TaskContext[Job]) -> None: ...


def without_the_driver(url: str) -> TaskManager:
    """Return a manager made where Firestore's client is not installed."""
    kept = {name: module for name, module in sys.modules.items() if not name.startswith("oncetask_firestore")}
    with patch.dict(sys.modules, {**kept, "google.cloud.firestore_v1": None}, clear=True):
        return TaskManager(url)


REGISTRATIONS: list[tuple[str, Callable[[TaskManager], object], type[InputError], str]] = [
    ("no parameters", lambda m: m.register_task_handler(Job, no_parameters), ConfigurationError, "handler(task)"),
    ("three parameters", lambda m: m.register_task_handler(Job, three_parameters), ConfigurationError, "handler(task)"),
    ("not a function", lambda m: m.register_task_handler(Job, 7), ConfigurationError, "7"),  # type: ignore[arg-type]  # wrong on purpose
    ("another payload", lambda m: m.register_task_handler(Job, other_payload), ConfigurationError, "OnceTask[Job]"),
    ("an unstorable result", lambda m: m.register_task_handler(Job, unstorable_result), ConfigurationError, "Callable"),
    ("an instance", lambda m: m.register_task_handler(Job("a"), fine), ConfigurationError, "class"),  # type: ignore[arg-type]  # wrong on purpose
    ("a bare decorator", lambda m: m.task_handler(fine), ConfigurationError, "@manager.task_handler(SendEmail)"),  # type: ignore[arg-type]  # wrong on purpose
    ("another", lambda m: m.resource_key_handler(fine), ConfigurationError, "@manager.task_handler(SendEmail)"),  # type: ignore[arg-type]  # wrong on purpose
    ("a negative lease", lambda m: m.register_task_handler(Job, fine, lease_duration=-1), ConfigurationError, "-1"),
    (
        "a zero lease",
        lambda m: m.register_task_handler(Job, fine, lease_duration=0),
        ConfigurationError,
        "lease_duration",
    ),
    ("a NaN timeout", lambda m: m.register_task_handler(Job, fine, timeout=float("nan")), ConfigurationError, "nan"),
    (
        "a mistyped option",
        lambda m: m.register_task_handler(Job, fine, retry_polcy=None),  # type: ignore[call-arg]  # wrong on purpose
        ConfigurationError,
        "Did you mean retry_policy?",
    ),
    (
        "an option of another library",
        lambda m: m.resource_key_handler(Job, countdown=5)(fine),  # type: ignore[call-arg]  # wrong on purpose
        ConfigurationError,
        "got 'countdown'. Correct the name",
    ),
    (
        "a word for a flag",
        lambda m: m.register_task_handler(Job, fine, renew_lease="no"),  # type: ignore[arg-type]  # wrong on purpose
        ConfigurationError,
        "True or False",
    ),
    ("no slots", lambda m: m.register_task_handler(Job, fine, concurrency=0), ConfigurationError, "concurrency"),
    (
        "groups of none",
        lambda m: m.register_resource_key_handler(Job, fine, max_group=0),
        ConfigurationError,
        "max_group",
    ),
    (
        "groups of single tasks",
        lambda m: m.register_task_handler(Job, fine, max_group=10),
        ConfigurationError,
        "resource_key_handler",
    ),
    (
        "negative crashes",
        lambda m: m.register_task_handler(Job, fine, max_crashes=-1),
        ConfigurationError,
        "max_crashes",
    ),
    (
        "a policy that is none",
        lambda m: m.register_task_handler(Job, fine, retry_policy="twice"),  # type: ignore[arg-type]  # wrong on purpose
        ConfigurationError,
        "twice",
    ),
    (
        "the class of a policy",
        lambda m: m.register_task_handler(Job, fine, retry_policy=NoRetryPolicy),  # type: ignore[arg-type]  # wrong on purpose
        ConfigurationError,
        "write NoRetryPolicy()",
    ),
    (
        "the class of a policy, for clean-ups",
        lambda m: m.task_handler(Job, cancellation_retry_policy=NoRetryPolicy)(fine),  # type: ignore[arg-type]  # wrong on purpose
        ConfigurationError,
        "cancellation_retry_policy",
    ),
    ("an unknown kind", lambda m: m.unregister("nobody"), UnknownKindError, "nobody"),
    ("an unknown scheme", lambda m: TaskManager("redis://host"), ConfigurationError, "redis://host"),
    ("a path for a URL", lambda m: TaskManager("tasks.db"), ConfigurationError, "sqlite:///tasks.db"),
    ("a missing extra", lambda m: without_the_driver("firestore://p/d"), ConfigurationError, "oncetask[firestore]"),
    ("something else as a store", lambda m: TaskManager(42), ConfigurationError, "42"),  # type: ignore[arg-type]  # wrong on purpose
    ("an empty environment", lambda m: TaskManager("memory://", env=""), InvalidTaskError, "env"),
    ("two environments", lambda m: TaskManager(World().store, env="OTHER"), ConfigurationError, "OTHER"),
    ("a NUL in the worker's name", lambda m: TaskManager("memory://", name="a\0b"), ConfigurationError, "control"),
    ("a number for a name", lambda m: TaskManager("memory://", name=7), ConfigurationError, "7"),  # type: ignore[arg-type]  # wrong on purpose
    ("a negative poll", lambda m: TaskManager("memory://", poll_interval=-1), ConfigurationError, "-1"),
    ("a negative back-off", lambda m: ExponentialBackoffPolicy(base_delay=-1), ConfigurationError, "-1"),
    ("a shrinking back-off", lambda m: ExponentialBackoffPolicy(multiplier=0.5), ConfigurationError, "0.5"),
    ("negative attempts", lambda m: FixedDelayPolicy(max_attempts=-1), ConfigurationError, "-1"),
    ("too much jitter", lambda m: FixedDelayPolicy(jitter=2), ConfigurationError, "2"),
    ("a negative retry", lambda m: RetryAfter(-1), ConfigurationError, "-1"),
]


@pytest.mark.parametrize(("what", "action", "error", "says"), REGISTRATIONS, ids=[row[0] for row in REGISTRATIONS])
def test_bad_settings_are_refused(
    what: str, action: Callable[[TaskManager], object], *, error: type[InputError], says: str
) -> None:
    """Handlers, options and URLs are checked when they are given, with value, rule and way out."""
    manager = World().manager
    with pytest.raises(error) as caught:
        action(manager)

    assert says in str(caught.value), what
    assert caught.value.rule in str(caught.value)
    assert caught.value.remedy


def test_a_second_handler_is_refused() -> None:
    """A kind has one handler."""
    manager = World().manager
    manager.register_task_handler(Job, fine)
    with pytest.raises(DuplicateHandlerError, match="single-task handler"):
        manager.register_task_handler(Job, fine)


FOR_SEVERAL: list[tuple[str, Callable[[TaskManager, str], Awaitable[object]]]] = [
    ("get", lambda m, ids: m.get_tasks_by_ids(ids)),
    ("cancel", lambda m, ids: m.cancel_tasks_by_ids(ids)),
    ("reset", lambda m, ids: m.reset_tasks_by_ids(ids)),
    ("delete", lambda m, ids: m.delete_tasks_by_ids(ids)),
]


@pytest.mark.parametrize(("what", "action"), FOR_SEVERAL, ids=[row[0] for row in FOR_SEVERAL])
def test_one_id_in_place_of_several_is_refused(
    what: str, action: Callable[[TaskManager, str], Awaitable[object]]
) -> None:
    """A text is a collection of its letters, which may be ids of tasks, too."""

    @asynchronous
    async def check() -> None:
        world = World()
        await world.manager.create_tasks([Job("a"), Job("b"), Job("ab")])
        before = [await world.task(name) for name in ("a", "b", "ab")]
        with pytest.raises(InvalidTaskError, match="as a list or another collection; got 'ab'"):
            await action(world.manager, "ab")

        assert [await world.task(name) for name in ("a", "b", "ab")] == before, what

    check()
