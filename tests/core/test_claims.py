"""Claims: which tasks are taken, and in which order."""

from datetime import datetime, timedelta

import pytest

from oncetask_core.claims import Claim, Slots, chosen, claim_order, is_claimable, is_due, leased, next_due
from tests.core.records import LEASE_FOR, NOW, SECOND, STATES, Task, a_claim, a_generator, a_task, cancelled, changed

CLAIMABLE = {"pending", "waits for clean-up"}


def in_order(task_id: str, sequence: int, *, order: int = 0, **fields: object) -> Task:
    """Return a due task whose place in the order is `order` seconds from now."""
    fields = {"sequence": sequence, "order_at": NOW + order * SECOND} | fields
    return a_task(task_id, **fields)


def taken(claim: Claim, *tasks: Task) -> list[str]:
    """Return the ids of what the claim takes."""
    return [task.id for task in chosen(claim, tasks, NOW)]


@pytest.mark.parametrize("state", list(STATES))
def test_only_free_due_tasks_are_claimed(state: str) -> None:
    """Held tasks, finished ones, waiting ones and generators are left alone, leases that ran out, too."""
    task = STATES[state]

    assert is_claimable(task, NOW) == (state in CLAIMABLE)
    assert is_due(task, NOW) == (state in CLAIMABLE | {"generator"})
    assert bool(taken(a_claim(), task)) == (state in CLAIMABLE)


def test_task_of_a_key_is_claimed_from_its_seat() -> None:
    """Whoever has no seat waits for it."""
    keyed = a_task(resource_key="key")

    assert not is_claimable(keyed, NOW)
    assert is_claimable(changed(keyed, head_key="key"), NOW)


def test_claim_comes_neither_early_nor_late() -> None:
    """The waiting time is over at its very moment."""
    task = a_task(wait_until=NOW)

    assert not is_claimable(task, NOW - timedelta(microseconds=1))
    assert is_claimable(task, NOW)


def test_order_is_place_then_creation() -> None:
    """Ties go to the task that was created first."""
    tasks = [in_order("c", 3), in_order("late", 1, order=1), in_order("b", 2), in_order("early", 9, order=-1)]

    assert taken(a_claim(), *tasks) == ["early", "b", "c", "late"]
    assert claim_order(tasks[0]) == (NOW, 3)


def test_claim_takes_no_more_than_its_slots() -> None:
    """Each kind has a limit of its own, and kinds that are not named are not touched."""
    tasks = [in_order(f"{kind}{number}", number, kind=kind) for kind in ("x", "y", "z") for number in range(3)]
    claim = a_claim(slots={"y": Slots(2), "x": Slots(1), "w": Slots(5)})

    assert taken(claim, *tasks) == ["y0", "y1", "x0"]
    assert taken(a_claim(slots={"x": Slots(0)}), *tasks) == []


def test_claim_takes_no_group_unless_asked() -> None:
    """Tasks of a key go one by one."""
    assert Slots(5).group == 1


def test_group_follows_its_head() -> None:
    """The members of a key stand one behind the other, and a limit counts heads."""
    tasks = [
        in_order("a1", 1, resource_key="a", head_key="a"),
        in_order("b1", 2, resource_key="b", head_key="b"),
        in_order("free", 3),
        *(in_order(f"a{number}", 3 + number, resource_key="a") for number in (2, 3, 4)),
        in_order("other kind", 9, resource_key="a", kind="other"),
    ]

    assert taken(a_claim(slots={"kind": Slots(2, 3)}), *tasks) == ["a1", "a2", "a3", "b1"]
    assert taken(a_claim(slots={"kind": Slots(3, 1)}), *tasks) == ["a1", "b1", "free"]


def test_suspects_are_taken_one_by_one_and_only_when_asked_for() -> None:
    """What crashed a worker waits for a claim of its own kind."""
    tasks = [
        in_order("s1", 1, crashes=1),
        in_order("fresh", 2),
        in_order("s2", 3, crashes=2),
        in_order("other", 0, kind="other", crashes=1),
    ]

    assert taken(a_claim(), *tasks) == ["fresh"]
    assert taken(a_claim(suspects=True), *tasks) == ["s1"]
    assert taken(a_claim(suspects=True), tasks[1]) == []


def test_lease_is_written_as_it_was_claimed() -> None:
    """The claim gives the lease, the store its time and the fence number."""
    task = a_task(claims=4, revision=7)

    after = leased(task, a_claim("lease 5"), now=NOW, epoch=9)

    expected = {
        "lease_uid": "lease 5",
        "leased_by": "worker",
        "leased_until": NOW + LEASE_FOR,
        "started_at": NOW,
        "epoch": 9,
        "claims": 5,
        "revision": 8,
    }
    assert after == changed(task, **expected)


def test_lease_of_a_cancelled_task_is_for_its_clean_up() -> None:
    """After a cancel no lease is granted for the normal handler."""
    assert leased(STATES["waits for clean-up"], a_claim(), now=NOW, epoch=1).in_cleanup
    assert not leased(changed(a_task(), in_cleanup=True), a_claim(), now=NOW, epoch=1).in_cleanup


def test_claimed_head_keeps_its_seat() -> None:
    """A leased head is seated until its lease ends."""
    assert leased(a_task(head_key="key"), a_claim(), now=NOW, epoch=1).head_key == "key"


@pytest.mark.parametrize(
    ("task", "due"),
    [
        (a_task(wait_until=NOW + SECOND), NOW + SECOND),
        (a_generator(wait_until=NOW + SECOND), NOW + SECOND),
        (a_task(wait_until=NOW), None),
        (a_task(wait_until=NOW + SECOND, lease_uid="l"), None),
        (cancelled(a_task(wait_until=NOW + SECOND)), None),
        (a_task(wait_until=NOW + SECOND, kind="other"), None),
    ],
)
def test_next_due_is_what_a_claim_could_find_later(task: Task, due: datetime | None) -> None:
    """Tasks and generators of the kinds that nobody holds, later than now."""
    assert next_due([task], ["kind"], NOW) == due


def test_next_due_is_the_earliest() -> None:
    """Of several the first, of none nothing."""
    tasks = [a_task(wait_until=NOW + wait * SECOND) for wait in (3, 2, 5)]

    assert next_due(tasks, ["kind"], NOW) == NOW + 2 * SECOND
    assert next_due([], ["kind"], NOW) is None
