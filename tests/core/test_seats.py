"""Seats: which task of a key may be claimed next."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncetask_core.seats import contends, rightful_head, seat_faults, seat_order, successors
from oncetask_core.status import Outcome
from tests.core.records import NOW, SECOND, Task, a_generator, a_task, changed, held


def keyed(task_id: str, sequence: int, *, wait: int = 0, **fields: object) -> Task:
    """Return a task of the key, due `wait` seconds from now."""
    due = NOW + wait * SECOND
    return a_task(
        task_id, **({"resource_key": "key", "sequence": sequence, "wait_until": due, "order_at": due} | fields)
    )


A, B, C = keyed("a", 1), keyed("b", 2), keyed("c", 3)


def seated(task: Task) -> Task:
    """Return the task with the key's seat."""
    return changed(task, head_key="key")


def ids(tasks: Sequence[Task]) -> list[str]:
    """Return the ids of tasks."""
    return [task.id for task in tasks]


@pytest.mark.parametrize("order", list(permutations([A, B, C])))
def test_oldest_due_time_has_the_seat(order: tuple[Task, ...]) -> None:
    """Ties go to the task that was created first, in whatever order the tasks are looked at."""
    assert rightful_head(order) is A


def test_task_in_back_off_lets_others_pass() -> None:
    """The seat goes by due time."""
    assert rightful_head([keyed("a", 1, wait=10), B]) is B


def test_earliest_task_has_the_seat_before_it_is_due() -> None:
    """A key whose tasks all wait has its seat given, too."""
    waiting = keyed("a", 1, wait=10)

    assert rightful_head([keyed("b", 2, wait=20), waiting]) is waiting


def test_strict_order_holds_up() -> None:
    """With strict order a task in back-off keeps its turn."""
    first = keyed("a", 1, wait=10, strict_order=True)

    assert rightful_head([changed(B, strict_order=True), first]) is first


@pytest.mark.parametrize(
    "other",
    [
        changed(A, outcome=Outcome.COMPLETED),
        a_generator("a", resource_key="key", sequence=1),
        changed(A, resource_key=None),
    ],
)
def test_what_does_not_contend_has_no_seat(other: Task) -> None:
    """Finished tasks, generators and tasks without a key stay out of it."""
    assert not contends(other)
    assert rightful_head([other, B]) is B
    assert rightful_head([other]) is None


def test_nobody_has_the_seat_of_a_key_that_is_held() -> None:
    """Not even when the lease has run out: it has to be expired first."""
    assert rightful_head([changed(held(A), leased_until=NOW - SECOND), B]) is None


def test_successors_are_due_and_in_order() -> None:
    """A group takes what is due, in the order of the seats."""
    early = keyed("d", 4, wait=-5)
    tasks = [C, keyed("later", 5, wait=1), B, A, early]

    assert ids(successors(A, tasks, now=NOW, limit=9)) == ["d", "b", "c"]
    assert ids(successors(A, tasks, now=NOW, limit=2)) == ["d", "b"]
    assert ids(successors(A, tasks, now=NOW, limit=0)) == []


def test_suspects_join_no_group_and_have_none() -> None:
    """What may have killed a worker runs alone."""
    suspect = changed(B, crashes=1)

    assert ids(successors(A, [suspect, C], now=NOW, limit=9)) == ["c"]
    assert ids(successors(suspect, [A, C], now=NOW, limit=9)) == []


@pytest.mark.parametrize("change", [{"wait_until": NOW + SECOND}, {"crashes": 1}, {"lease_uid": "l"}])
def test_strict_order_ends_the_group_at_the_first_that_cannot_join(change: dict[str, object]) -> None:
    """Nobody overtakes."""
    strict = [changed(task, strict_order=True) for task in (A, B, C)]

    assert ids(successors(strict[0], strict, now=NOW, limit=9)) == ["b", "c"]
    assert ids(successors(strict[0], [changed(strict[1], **change), strict[2]], now=NOW, limit=9)) == []


def test_strict_group_ends_at_its_limit() -> None:
    """A full group takes no later task."""
    strict = [changed(task, strict_order=True) for task in (A, B, C)]

    assert ids(successors(strict[0], strict, now=NOW, limit=1)) == ["b"]


SOUND = [
    [],
    [seated(A), B],
    [seated(held(A)), B],
    [held(A), held(B), C],
    [changed(A, outcome=Outcome.FAILED), seated(B)],
]
FAULTY = [
    ([A, B], "the seat belongs to ['a'] and not to []"),
    ([A, seated(B)], "the seat belongs to ['a'] and not to ['b']"),
    ([held(A), seated(B)], "the seat belongs to [] and not to ['b']"),
    ([seated(changed(A, outcome=Outcome.FAILED)), B], "a has a seat but does not contend for the key"),
    ([seated(A), seated(B)], "several tasks hold the seat: ['a', 'b']"),
    ([held(A), held(B, "lease 2")], "two leases hold the key"),
]


@pytest.mark.parametrize("tasks", SOUND)
def test_sound_seats_have_no_faults(tasks: list[Task]) -> None:
    """A leased head keeps its seat, and a finished one has none."""
    assert seat_faults(tasks) == []


@pytest.mark.parametrize(("tasks", "fault"), FAULTY)
def test_every_fault_of_a_seat_is_named(tasks: list[Task], fault: str) -> None:
    """Whoever repairs a key is told what is wrong with it."""
    assert fault in seat_faults(tasks)


MEMBERS = st.lists(
    st.tuples(st.integers(-3, 3), st.booleans(), st.sampled_from([None, None, "lease 1"]), st.integers(0, 1)),
    min_size=1,
    max_size=6,
)


@given(MEMBERS, st.integers(0, 5))
def test_head_and_group_never_overtake(members: list[tuple[int, bool, str | None, int]], limit: int) -> None:
    """The head is the least by order, the group follows it in order, and nobody of it is leased or waits."""
    tasks = [
        keyed(str(number), number, wait=wait, strict_order=strict, lease_uid=lease, crashes=crashes)
        for number, (wait, strict, lease, crashes) in enumerate(members)
    ]
    head = rightful_head(tasks)
    if head is None:
        assert any(task.lease_uid for task in tasks)
        return
    group = successors(head, tasks, now=NOW, limit=limit)

    assert all(seat_order(head) <= seat_order(task) for task in tasks)
    assert [seat_order(task) for task in group] == sorted(seat_order(task) for task in group)
    assert head not in group
    assert len(group) <= limit
    assert all(task.wait_until <= NOW and not task.is_suspect for task in group)
    assert seat_faults([seated(task) if task is head else task for task in tasks]) == []


def test_order_of_seats_is_time_then_creation() -> None:
    """Where the order is strict, creation alone."""
    assert seat_order(A) == (NOW, 1)
    assert seat_order(changed(A, strict_order=True)) < seat_order(keyed("z", 2, wait=int(-timedelta(days=99) / SECOND)))
