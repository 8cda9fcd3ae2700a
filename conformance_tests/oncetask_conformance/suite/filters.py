"""Filters, and which tasks of the collection in `states` each of them means, written out by hand."""

from collections.abc import Callable, Mapping

from oncetask_conformance.harness import RawTask
from oncetask_conformance.states import FINISHED, State, kind_of
from oncetask_core.query import TaskFilter
from oncetask_core.status import TaskStatus

Raw = Mapping[str, RawTask]
Expectation = tuple[Callable[[Raw], TaskFilter], frozenset[State]]

EVERY = frozenset(State)
LIVE = EVERY - frozenset(FINISHED)
DUE = frozenset(
    {State.RUN_OUT, State.CRASHED, State.PENDING, State.RELEASED, State.CANCELLING, State.GENERATOR},
)
STATUSES: Mapping[TaskStatus, frozenset[State]] = {
    TaskStatus.WAITING: frozenset({State.WAITING, State.RETRYING, State.SNOOZED}),
    TaskStatus.PENDING: DUE - {State.CANCELLING},
    TaskStatus.LEASED: frozenset({State.LEASED, State.PROGRESSING}),
    TaskStatus.CANCELLATION_PENDING: frozenset({State.CANCELLING, State.TOLD_TO_STOP, State.CLEANING_UP}),
    TaskStatus.COMPLETED: frozenset({State.COMPLETED}),
    TaskStatus.FAILED: frozenset({State.FAILED}),
    TaskStatus.CANCELLED: frozenset({State.CANCELLED}),
}


def _fixed(where: TaskFilter, *expected: State) -> Expectation:
    return (lambda _: where), frozenset(expected)


def _by_status(status: TaskStatus) -> Expectation:
    return _fixed(TaskFilter(statuses=frozenset({status})), *STATUSES[status])


def _from(state: State) -> frozenset[State]:
    order = list(State)
    return frozenset(order[order.index(state) :])


FILTERS: Mapping[str, Expectation] = {
    "nothing": _fixed(TaskFilter(), *EVERY),
    "ids": _fixed(TaskFilter(ids=frozenset({"leased", "failed", "nobody"})), State.LEASED, State.FAILED),
    "no ids": _fixed(TaskFilter(ids=frozenset())),
    "kinds": _fixed(TaskFilter(kinds=frozenset({kind_of("leased"), "other"})), State.LEASED),
    "no kinds": _fixed(TaskFilter(kinds=frozenset())),
    "no statuses": _fixed(TaskFilter(statuses=frozenset())),
    **{f"status {status}": _by_status(status) for status in TaskStatus},
    "two statuses": _fixed(
        TaskFilter(statuses=frozenset({TaskStatus.FAILED, TaskStatus.LEASED})),
        *STATUSES[TaskStatus.FAILED],
        *STATUSES[TaskStatus.LEASED],
    ),
    "resource key": _fixed(TaskFilter(resource_key="van-1"), State.PENDING, State.LEASED),
    "resource key in another case": _fixed(TaskFilter(resource_key="VAN-1")),
    "queue": _fixed(TaskFilter(queue="slow"), State.WAITING),
    "parent": _fixed(TaskFilter(parent_recurrence_id="generator"), State.COMPLETED),
    "created from": (lambda raw: TaskFilter(created_from=raw[State.LEASED].created_at), _from(State.LEASED)),
    "created before": (
        lambda raw: TaskFilter(created_before=raw[State.LEASED].created_at),
        EVERY - _from(State.LEASED),
    ),
    "done before": (
        lambda raw: TaskFilter(done_before=raw[State.FAILED].done_at),
        frozenset({State.COMPLETED}),
    ),
    "live": _fixed(TaskFilter(live=True), *LIVE),
    "finished": _fixed(TaskFilter(live=False), *FINISHED),
    "due": _fixed(TaskFilter(due=True), *DUE),
    "not due": _fixed(TaskFilter(due=False), *(EVERY - DUE)),
    "run out": _fixed(TaskFilter(run_out=True), State.RUN_OUT),
    "not run out": _fixed(TaskFilter(run_out=False), *(EVERY - {State.RUN_OUT})),
    "generators": _fixed(TaskFilter(generators=True), State.GENERATOR),
    "no generators": _fixed(TaskFilter(generators=False), *(EVERY - {State.GENERATOR})),
    "suspects": _fixed(TaskFilter(suspects=True), State.CRASHED),
    "no suspects": _fixed(TaskFilter(suspects=False), *(EVERY - {State.CRASHED})),
    "all at once": _fixed(
        TaskFilter(live=True, due=True, generators=False, statuses=frozenset({TaskStatus.PENDING}), suspects=False),
        State.RUN_OUT,
        State.PENDING,
        State.RELEASED,
    ),
}
