"""The indexes of the memory store change nothing: after random steps it agrees with rules that look at every task."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oncetask_core.claims import Claim, Slots, chosen, leased, next_due
from oncetask_core.decisions import (
    Released,
    Report,
    Snoozed,
    Success,
    Uids,
    cancel,
    conclude,
    deletion,
    expire,
    report_progress,
    reschedule,
    reset,
    tick,
)
from oncetask_core.query import TaskFilter, TaskOrder, TaskQuery, matches
from oncetask_core.recurrence import Cursor, Due
from oncetask_core.seats import seat_faults
from oncetask_core.status import TaskStatus
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Atom, Transition
from tests.memory.world import HOUR, RULES, SECOND, Task, World, a_failure, a_rule, a_task, result_of, slots_claim

KINDS = ("letter", "parcel")
KEYS = (None, None, "north", "south")
_seconds = st.sampled_from([-60, -1, 0, 0, 1, 30, 90]).map(lambda n: n * SECOND)
_some = st.integers(0, 1000)
FILTERS = (
    TaskFilter(ids=frozenset({"task 0", "task 1", "nobody"})),
    TaskFilter(kinds=frozenset({"letter"})),
    TaskFilter(resource_key="north"),
    TaskFilter(statuses=frozenset({TaskStatus.PENDING, TaskStatus.COMPLETED})),
    *(TaskFilter(live=flag) for flag in (True, False)),
    *(TaskFilter(due=flag) for flag in (True, False)),
    *(TaskFilter(run_out=flag) for flag in (True, False)),
    *(TaskFilter(live=True, generators=flag) for flag in (True, False)),
    *(TaskFilter(due=True, suspects=flag) for flag in (True, False)),
)


@st.composite
def new_tasks(draw: st.DrawFn) -> NewTask:
    """Draw a task without its recurrence; ids repeat."""
    return a_task(
        f"task {draw(st.integers(0, 30))}",
        kind=draw(st.sampled_from(KINDS)),
        resource_key=draw(st.sampled_from(KEYS)),
        strict_order=draw(st.booleans()),
        priority=draw(st.integers(-1, 1)),
        wait_until=StoreNow(draw(_seconds)),
        run_uid=f"run {draw(_some)}",
    )


_slots = st.builds(Slots, limit=st.sampled_from([1, 2, 4, 0]), group=st.sampled_from([3, 1, 2, 0]))
slots = st.one_of(st.fixed_dictionaries(dict.fromkeys(KINDS, _slots)), st.dictionaries(st.sampled_from(KINDS), _slots))
EVERYTHING = dict.fromkeys(KINDS, Slots(limit=3, group=2))


class Agreement(RuleBasedStateMachine):
    """A store, and after each step everything that can be said about it by looking at all tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.claims: list[Claim] = []
        self.epoch = 0

    def _pick(self, number: int, tasks: Sequence[Task]) -> Task:
        return tasks[number % len(tasks)]

    def _all(self) -> list[Task]:
        return list(self.world.everything().values())

    def _held(self) -> list[Task]:
        return [task for task in self._all() if task.lease_uid is not None]

    def _submit(self, transition: Transition | None) -> None:
        if transition is not None:
            self.world.submit(transition)

    @initialize(tasks=st.lists(new_tasks(), min_size=5, max_size=20))
    def begin(self, tasks: list[NewTask]) -> None:
        self.world.add(*tasks)

    @rule(tasks=st.lists(new_tasks(), min_size=1, max_size=6))
    def insert(self, tasks: list[NewTask]) -> None:
        self.world.add(*tasks)

    @rule(number=st.integers(0, 5), key=st.sampled_from(KEYS), after=_seconds)
    def insert_generator(self, *, number: int, key: str | None, after: timedelta) -> None:
        rrule = a_rule(self.world.clock)
        wait_until = StoreNow(after)
        self.world.add(a_task(f"task {number}", recurrence=rrule, resource_key=key, wait_until=wait_until))

    @rule(slots=slots, suspects=st.booleans())
    def claim_some(self, *, slots: dict[str, Slots], suspects: bool) -> None:
        self.claim(slots, suspects=suspects)

    def claim(self, slots: dict[str, Slots], *, suspects: bool) -> None:
        claim = slots_claim(f"lease {len(self.claims)}", slots, suspects=suspects)
        before, now = self._all(), self.world.clock.now()

        claimed = result_of(self.world.store.claim(claim))

        epochs = [task.epoch for task in claimed.tasks]
        expected = chosen(claim, before, now)
        assert list(claimed.tasks) == [
            leased(task, claim, now=now, epoch=epoch) for task, epoch in zip(expected, epochs, strict=True)
        ]
        assert claimed.next_due == next_due(self._all(), slots, now)
        assert [self.epoch, *epochs] == sorted({self.epoch, *epochs})
        self.epoch = max([self.epoch, *epochs])
        self.claims.append(claim)

    @rule(reports=st.lists(st.integers(0, 3), min_size=1, max_size=4))
    def work(self, reports: list[int]) -> None:
        self.claim(EVERYTHING, suspects=False)
        for number, task in enumerate(self._held()):
            self._submit(conclude(task, self._report(reports[number % len(reports)]), RULES, chance=0.0))

    def _report(self, number: int) -> Report:
        return (Success("1"), a_failure(self.world.clock), Snoozed(20 * SECOND), Released())[number]

    @precondition(lambda self: self._held())
    @rule(number=_some, slots=slots)
    def claim_again(self, *, number: int, slots: dict[str, Slots]) -> None:
        lease_uid = self._pick(number, self._held()).lease_uid
        held = [task for task in self._held() if task.lease_uid == lease_uid]

        claimed = result_of(self.world.store.claim(slots_claim(str(lease_uid), slots)))

        assert list(claimed.tasks) == sorted(held, key=lambda task: task.epoch)

    @precondition(lambda self: self._held())
    @rule(numbers=st.lists(_some, min_size=1, max_size=4), how=st.integers(0, 3))
    def settle(self, *, numbers: list[int], how: int) -> None:
        tasks = [self._pick(number, self._held()) for number in numbers]
        self.world.submit(*(conclude(task, self._report(how), RULES, chance=0.0) for task in tasks))

    @precondition(lambda self: self._held())
    @rule(number=_some, by=st.sampled_from([None, SECOND, HOUR]))
    def renew(self, *, number: int, by: timedelta | None) -> None:
        lease_uid = str(self._pick(number, self._held()).lease_uid)
        held = {task.id for task in self._held() if task.lease_uid == lease_uid}

        renewed = result_of(self.world.store.renew({lease_uid: by, "unknown": by}))

        assert {lease.id for lease in renewed.held} == held

    @precondition(lambda self: self._held())
    @rule(number=_some)
    def report(self, *, number: int) -> None:
        self._submit(report_progress(self._pick(number, self._held()), "1"))

    @rule(suspects=st.booleans())
    def crash(self, *, suspects: bool) -> None:
        self.claim(EVERYTHING, suspects=suspects)
        self.pass_time(61 * SECOND)

    @rule(by=st.sampled_from([SECOND, 30 * SECOND, 61 * SECOND]))
    def pass_time(self, by: timedelta) -> None:
        self.world.clock.advance(by)
        now = self.world.clock.now()
        run_out = [task for task in self._held() if task.leased_until is not None and task.leased_until <= now]
        assert self.world.found(TaskFilter(run_out=True)) == [task.id for task in run_out]
        self.world.submit(*(expire(task, RULES, at=now, chance=0.0) for task in run_out))

    @precondition(lambda self: self._all())
    @rule(number=_some, has_cleanup=st.booleans())
    def cancel(self, *, number: int, has_cleanup: bool) -> None:
        self._submit(cancel(self._pick(number, self._all()), has_cleanup=has_cleanup))

    @precondition(lambda self: any(not task.is_live for task in self._all()))
    @rule(number=_some)
    def reset(self, *, number: int) -> None:
        finished = self._pick(number, [task for task in self._all() if not task.is_live])
        resume = Cursor(self.world.clock.now() + SECOND, 1) if finished.is_generator else None
        self._submit(reset(finished, run_uid=f"reset {number}", resume=resume))

    @precondition(lambda self: any(_is_movable(task) for task in self._all()))
    @rule(number=_some, after=_seconds)
    def reschedule(self, *, number: int, after: timedelta) -> None:
        movable = self._pick(number, [task for task in self._all() if _is_movable(task)])
        self._submit(reschedule(movable, StoreNow(after)))

    @precondition(lambda self: any(task.is_generator and task.is_live for task in self._all()))
    @rule(number=_some, is_last=st.booleans())
    def tick(self, *, number: int, is_last: bool) -> None:
        generator = self._pick(number, [task for task in self._all() if task.is_generator and task.is_live])
        following = None if is_last else Cursor(generator.wait_until + 30 * SECOND, 1)
        due = Due((generator.wait_until,), following)
        self.world.apply(tick(generator, due, Uids(created_by="tick", run_uids=(f"run {number}",))))

    @precondition(lambda self: self._all())
    @rule(numbers=st.lists(_some, min_size=1, max_size=3))
    def delete(self, *, numbers: list[int]) -> None:
        guards = [deletion(self._pick(number, self._all())) for number in numbers]
        result_of(self.world.store.delete(guards))

    @precondition(lambda self: self._held())
    @rule(number=_some)
    def void(self, *, number: int) -> None:
        before = self.world.everything()
        settle = conclude(self._pick(number, self._held()), Success("2"), RULES, chance=0.0)
        self.world.apply(Atom((settle, settle), (a_task("never"),)))
        assert self.world.everything() == before

    @rule()
    def restore(self) -> None:
        before = self.world.everything()
        self.world.store.restore(self.world.store.snapshot())
        assert self.world.everything() == before

    @rule(where=st.sampled_from(FILTERS), order=st.sampled_from(TaskOrder), limit=st.integers(1, 4))
    def find(self, *, where: TaskFilter, order: TaskOrder, limit: int) -> None:
        expected = [task for task in self._all() if matches(where, task, self.world.clock.now())]
        expected.sort(key=lambda task: task.sequence, reverse=order is TaskOrder.NEWEST)
        assert result_of(self.world.store.count(where)) == len(expected)
        page = result_of(self.world.store.find(TaskQuery(where=where, order=order, limit=limit)))
        found = list(page)
        while page.cursor is not None:
            query = TaskQuery(where=where, order=order, limit=limit, cursor=page.cursor)
            page = result_of(self.world.store.find(query))
            found += page
        assert found == expected

    @invariant()
    def the_seats_are_right(self) -> None:
        tasks = self._all()
        for key in {(task.kind, task.resource_key) for task in tasks if task.resource_key is not None}:
            assert seat_faults([task for task in tasks if (task.kind, task.resource_key) == key]) == []

    @invariant()
    def every_index_finds_what_there_is(self) -> None:
        tasks, now = self._all(), self.world.clock.now()
        for where in FILTERS:
            assert self.world.found(where) == [task.id for task in tasks if matches(where, task, now)]

    @invariant()
    def tasks_lie_in_the_order_of_their_creation(self) -> None:
        sequences = [task.sequence for task in self._all()]
        assert sequences == sorted(set(sequences))


def _is_movable(task: Task) -> bool:
    held_or_over = task.lease_uid is not None or not task.is_live
    return not (held_or_over or task.is_cancelled or task.is_generator)


TestAgreement = Agreement.TestCase
