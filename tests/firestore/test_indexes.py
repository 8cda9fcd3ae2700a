"""Every query that is sent has its index in `firestore.indexes.json`, which the emulator does not ask for."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from google.cloud.firestore_v1.types import RunAggregationQueryRequest, RunQueryRequest

import oncetask_firestore
from oncetask import OnceTask, TaskFilter, TaskManager, TaskStatus
from oncetask_core.claims import Claim, Slots
from oncetask_core.query import TaskOrder, TaskQuery
from oncetask_core.task import NewTask
from oncetask_firestore import FirestoreStore
from tests.asynchronous import asynchronous
from tests.firestore.world import Faults, needs_server, new_project, opened
from tests.worker.world import Job, Keyed, until_all_have_ended

INDEXES = json.loads((Path(oncetask_firestore.__file__).parent / "firestore.indexes.json").read_text(encoding="utf-8"))
RANGES = {"LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"}
EQUALITIES = {"EQUAL", "IN"}
SOMETIME = datetime(2030, 1, 1, tzinfo=UTC)


class Form(NamedTuple):
    """What decides which index serves a query."""

    collection: str
    equal: frozenset[str]
    order: tuple[str, ...]


class Index(NamedTuple):
    """A composite index."""

    collection: str
    fields: tuple[str, ...]

    def serves(self, form: Form) -> bool:
        """Whether it has the query's results side by side, in order."""
        prefix = self.fields[: len(self.fields) - len(form.order)]
        return (
            self.collection == form.collection
            and frozenset(prefix) == form.equal
            and self.fields[len(prefix) :] == form.order
        )


def directed(field: str, direction: str) -> str:
    """Return the name of a field in an order, with a minus where it descends."""
    return f"-{field}" if direction == "DESCENDING" else field


COMPOSITE = [
    Index(one["collectionGroup"], tuple(directed(field["fieldPath"], field["order"]) for field in one["fields"]))
    for one in INDEXES["indexes"]
]
OVERRIDES = {(one["collectionGroup"], one["fieldPath"]): bool(one["indexes"]) for one in INDEXES["fieldOverrides"]}


def is_indexed(collection: str, field: str) -> bool:
    """Whether a field by itself has an index: it has unless it, or a map around it, is exempt."""
    paths = itertools.accumulate(field.split("."), lambda path, name: f"{path}.{name}")
    decided = [OVERRIDES[collection, path] for path in paths if (collection, path) in OVERRIDES]
    return decided[-1] if decided else True


def is_served(form: Form) -> bool:
    """Whether Firestore can answer a query, in one index or by joining those of equal fields."""
    if form.order:
        return any(index.serves(form) for index in COMPOSITE)
    joined = [index.fields for index in COMPOSITE if index.collection == form.collection]
    whole = {field for fields in joined if form.equal.issuperset(fields) for field in fields}
    return all(field in whole or is_indexed(form.collection, field) for field in form.equal)


def forms(calls: list[tuple[str, Any]]) -> Iterator[Form]:
    """Yield the form of every query among the calls."""
    for name, request in calls:
        if name == "RunQuery":
            yield form_of(RunQueryRequest.wrap(request).structured_query)
        elif name == "RunAggregationQuery":
            yield form_of(RunAggregationQueryRequest.wrap(request).structured_aggregation_query.structured_query)


def form_of(query: Any) -> Form:
    """Return the form of a query."""
    filters = query.where.composite_filter.filters or [query.where]
    conditions = [(one.field_filter.field.field_path, one.field_filter.op.name) for one in filters]
    assert {op for _, op in conditions} <= RANGES | EQUALITIES
    order = [directed(one.field.field_path, one.direction.name) for one in query.order_by]
    order += [field for field, op in conditions if op in RANGES and not {field, f"-{field}"} & set(order)]
    equal = frozenset(field for field, op in conditions if op in EQUALITIES)
    (collection,) = query.from_
    return Form(collection.collection_id, equal, tuple(dict.fromkeys(order)))


FILTERS: Mapping[str, list[object]] = {
    "kinds": [None, frozenset({"kind"}), frozenset({"a", "b"}), frozenset(f"k{number}" for number in range(40))],
    "resource_key": [None, "k"],
    "parent_recurrence_id": [None, "g"],
    "queue": [None, "q"],
    "statuses": [None, frozenset({TaskStatus.FAILED})],
    "live": [None, True, False],
    "due": [None, True, False],
    "run_out": [None, True, False],
    "generators": [None, True, False],
    "suspects": [None, True, False],
    "created_from": [None, SOMETIME],
    "created_before": [None, SOMETIME],
    "done_before": [None, SOMETIME],
}


def pairs() -> Iterator[TaskFilter]:
    """Yield filters with every pair of values of every two fields."""
    for one, other in itertools.combinations(FILTERS, 2):
        for first, second in itertools.product(FILTERS[one], FILTERS[other]):
            yield TaskFilter(**{one: first, other: second})  # type: ignore[arg-type]  # names from the table


@needs_server
@asynchronous
async def test_every_listing_has_its_index(faults: Faults) -> None:
    """Whatever two things a filter names."""
    async with opened(new_project()) as store:
        for where in pairs():
            await store.find(TaskQuery(where=where))
            await store.find(TaskQuery(where=where, order=TaskOrder.NEWEST))
            await store.count(where)
        await store.read_control()
        await store.read_control("pause/")

    asked = set(forms(faults.calls))
    assert [form for form in asked if not is_served(form)] == []
    assert len(asked) > 10


async def many_of_a_busy_key(store: FirestoreStore) -> None:
    """Claim where a page is full of what cannot be had."""
    fields: dict[str, Any] = {"kind": "kind", "payload": "{}", "run_uid": "run", "created_by": "me"}
    await store.insert([NewTask(id=f"busy {number}", resource_key="busy", **fields) for number in range(150)])
    for lease_uid in ("one", "two"):
        slots = {"kind": Slots(limit=1, group=2)}
        await store.claim(Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(hours=1), slots=slots))


@needs_server
@asynchronous
async def test_every_query_of_a_worker_has_its_index_and_every_index_its_query(faults: Faults) -> None:
    """Claims with and without keys, suspects, renewals, expiries, generators, retention."""
    project = new_project()
    manager = TaskManager(FirestoreStore(project=project), poll_interval=0.05, keep_finished_for=timedelta(days=1))
    manager.register_task_handler(Job, lambda task: None, concurrency=5)

    @manager.resource_key_handler(Keyed, concurrency=2)
    async def handle(tasks: list[OnceTask[Keyed]]) -> None:
        await asyncio.sleep(0)

    await manager.create_tasks([Job("a"), *(Keyed(name, key) for name, key in zip("bcde", "kklm", strict=True))])
    async with manager.running():
        await until_all_have_ended(manager, seconds=30)
    for order in TaskOrder:
        await manager.list_tasks(TaskFilter(created_from=SOMETIME), order=order)
    await manager.close()
    async with opened(project) as store:
        await many_of_a_busy_key(store)
        await store.find(TaskQuery(where=TaskFilter(done_before=SOMETIME)))
        await store.read_control("pause/")

    asked = {*forms(faults.calls), Form("onceTaskWakes", frozenset({"env"}), ("-at",))}  # the last is listened to
    assert [form for form in asked if not is_served(form)] == []
    assert [index for index in COMPOSITE if not any(index.serves(form) for form in asked)] == []


def test_a_query_without_an_index_is_seen() -> None:
    """The rules that we check by know a missing index, and an exempt field."""
    assert not is_served(Form("onceTasks", frozenset({"env", "queue"}), ("waitUntil",)))
    assert not is_served(Form("onceTasks", frozenset({"env", "waitUntil"}), ()))
    assert not is_served(Form("onceTasks", frozenset({"env", "oncetask.run"}), ()))
    assert is_served(Form("onceTasks", frozenset({"env", "oncetask.lease"}), ()))
