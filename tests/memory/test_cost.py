"""What calls cost: counted, not timed. No call looks at tasks that it has nothing to do with."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest

from oncetask_core.claims import is_claimable
from oncetask_core.decisions import Snoozed, cancel, deletion, expire, reschedule
from oncetask_core.query import TaskFilter, matches
from oncetask_core.seats import rightful_head, successors
from oncetask_core.task import StoreNow
from oncetask_memory import agenda, line, listing
from tests.memory.world import HOUR, RULES, SECOND, Task, World, a_claim, a_rule, a_task, result_of

MANY = 2000


class Counter:
    """Counts what the rules are shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        monkeypatch.setattr(line, "rightful_head", self._head)
        monkeypatch.setattr(line, "successors", self._successors)
        monkeypatch.setattr(listing, "matches", self._matches)
        monkeypatch.setattr(agenda, "is_claimable", self._is_claimable)

    def _counted(self, tasks: Iterable[Task]) -> Iterator[Task]:
        for task in tasks:
            self.seen += 1
            yield task

    def _head(self, tasks: Iterable[Task]) -> Task | None:
        return rightful_head(self._counted(tasks))

    def _successors(self, head: Task, tasks: Iterable[Task], **limits: Any) -> Iterable[Task]:
        return successors(head, self._counted(tasks), **limits)

    def _matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        self.seen += 1
        return matches(where, task, now)

    def _is_claimable(self, task: Task, now: datetime) -> bool:
        self.seen += 1
        return is_claimable(task, now)


@pytest.fixture
def world() -> World:
    """Return an empty store in virtual time."""
    return World()


@pytest.fixture
def crowd(world: World) -> World:
    """Return a store with many finished tasks, many that wait, and many that wait for one key."""
    world.add(*(a_task(f"done {n}") for n in range(MANY)))
    world.settle(*world.claim("crowd", limit=MANY))
    world.add(*(a_task(f"later {n}", wait_until=StoreNow(HOUR)) for n in range(MANY)))
    world.add(*(a_task(f"keyed {n}", resource_key="north") for n in range(MANY)))
    return world


def test_a_claim_does_not_look_at_the_crowd(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyless task behind two thousand of one key is claimed by looking at those that are taken."""
    crowd.add(a_task("a"))
    counter = Counter(monkeypatch)

    assert [task.id for task in crowd.claim(limit=2)] == ["keyed 0", "a"]
    assert counter.seen <= 2


def test_a_group_is_claimed_without_reading_all_of_its_key(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tasks are read as join, and one; those that joined are read once more for the seat."""
    counter = Counter(monkeypatch)

    taken = crowd.claim(limit=1, group=10)

    assert [task.id for task in taken] == [f"keyed {n}" for n in range(10)]
    assert counter.seen <= 21


def test_a_group_stops_reading_at_the_first_that_is_not_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a task that is not due no group goes on, in either order."""
    for key, strict in {"north": True, "south": False}.items():
        late = (a_task(f"{key} {n}", resource_key=key, strict_order=strict, wait_until=StoreNow(HOUR)) for n in "12")
        world.add(a_task(key, resource_key=key, strict_order=strict), *late)
    counter = Counter(monkeypatch)

    assert [task.id for task in world.claim(group=5)] == ["north", "south"]
    assert counter.seen <= 8


def test_a_settle_seats_the_next_without_reading_all_of_its_key(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of those in line is enough."""
    taken = crowd.claim(limit=1)
    counter = Counter(monkeypatch)

    crowd.settle(*taken)

    assert crowd.seated() == {"keyed 1"}
    assert counter.seen <= 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"run_out": True}, ["held"]),
        ({"kinds": frozenset({"letter"}), "run_out": True}, ["held"]),
        ({"live": True, "due": True, "generators": True}, ["rule"]),
        ({"live": True, "due": True, "suspects": True, "generators": False}, ["crashed"]),
        ({"ids": frozenset({"held", "nobody"})}, ["held"]),
        ({"kinds": frozenset({"parcel", "postcard"})}, ["parcel"]),
    ],
)
def test_what_a_sweep_asks_for_is_found_without_the_crowd(
    *, crowd: World, monkeypatch: pytest.MonkeyPatch, where: dict[str, Any], expected: list[str]
) -> None:
    """Leases that ran out, due generators, suspects, ids and rare kinds are found by an index."""
    crowd.add(a_task("crashed", priority=10))
    (crashed,) = crowd.claim("first", limit=1)
    crowd.clock.advance(61 * SECOND)
    crowd.submit(expire(crashed, RULES, at=crowd.clock.now(), chance=0.0))
    crowd.add(a_task("held", priority=10), a_task("parcel", kind="parcel"))
    crowd.add(a_task("rule", recurrence=a_rule(crowd.clock)))
    crowd.claim("second", limit=1)
    crowd.clock.advance(61 * SECOND)
    counter = Counter(monkeypatch)

    assert crowd.found(TaskFilter(**where)) == expected
    assert counter.seen <= 2


def test_unfinished_tasks_are_found_without_the_finished(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting what is due reads what is live."""
    counter = Counter(monkeypatch)

    assert result_of(crowd.store.count(TaskFilter(due=True))) == MANY
    assert counter.seen == 2 * MANY


def test_a_page_reads_no_further_than_it_is_long(crowd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of an unfiltered listing reads its tasks and one more."""
    counter = Counter(monkeypatch)

    assert len(crowd.found(TaskFilter())) == 1000
    assert counter.seen == 1001


def test_entries_that_are_out_of_date_are_thrown_away(world: World) -> None:
    """A task that is moved again and again does not fill the memory."""
    world.add(*(a_task(letter, wait_until=StoreNow(HOUR)) for letter in "bca"))
    for n in range(MANY):
        world.submit(reschedule(world.everything()["a"], StoreNow(HOUR + (n + 1) * SECOND)))

    agendas = world.store.space.shelves["DEFAULT"]._agendas
    assert len(agendas["letter"].waiting) < 100
    world.clock.advance(2 * HOUR)
    assert [task.id for task in world.claim()] == ["b", "c", "a"]


def test_a_suspect_that_proved_harmless_is_listed_no_more(world: World) -> None:
    """A sweep for suspects does not meet it again."""
    world.add(a_task("a"))
    (task,) = world.claim()
    world.clock.advance(61 * SECOND)
    world.submit(expire(task, RULES, at=world.clock.now(), chance=0.0))
    shelf = world.store.space.shelves["DEFAULT"]
    before = set(shelf.suspects)

    world.settle(*result_of(world.store.claim(a_claim("lease 2", suspects=True))).tasks, report=Snoozed(SECOND))

    assert (before, shelf.suspects, set(shelf.live)) == ({"a"}, {}, {"a"})


@pytest.mark.parametrize("end", ["settled", "cancelled", "deleted"])
def test_keys_and_leases_that_are_over_leave_nothing_behind(world: World, end: str) -> None:
    """A store that has seen a thousand keys is no larger than a new one."""
    world.add(*(a_task(f"{n}", resource_key=f"key {n}") for n in range(1000)))
    if end == "settled":
        world.settle(*world.claim(limit=1000))
    elif end == "cancelled":
        tasks = world.everything().values()
        world.submit(*(one for task in tasks if (one := cancel(task, has_cleanup=False)) is not None))
    else:
        result_of(world.store.delete([deletion(task) for task in world.everything().values()]))

    shelf = world.store.space.shelves["DEFAULT"]
    assert (shelf._lines, shelf._of_lease, shelf.live, shelf._touched) == ({}, {}, {}, {})
