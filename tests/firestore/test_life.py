"""The life of a document under our own decisions: read back it is the record, and Go's rules hold at every step."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from oncetask_core.claims import leased
from oncetask_core.decisions import (
    Released,
    Report,
    Snoozed,
    Success,
    cancel,
    conclude,
    expire,
    report_progress,
    reset,
)
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask
from oncetask_core.transition import Event, Transition, applied
from tests.core.records import CLEANED_UP, NOW, RULES, STATES, Task, a_claim, a_failure, a_task, changed
from tests.firestore import golang
from tests.firestore.stored import Fields, Stored

TICK = timedelta(seconds=7, microseconds=654_321)
Step = Callable[[Task, datetime], Transition | None]


def reported(report: Report) -> Step:
    return lambda task, now: None if task.lease_uid is None else conclude(task, report, CLEANED_UP, chance=0.5)


def _fail(task: Task, now: datetime) -> Transition | None:
    report = msgspec.structs.replace(a_failure("boom"), at=now)
    return None if task.lease_uid is None else conclude(task, report, RULES, chance=0.5)


def _expire(task: Task, now: datetime) -> Transition | None:
    return None if task.lease_uid is None else expire(task, RULES, at=now, chance=0.5)


def _cancel(task: Task, _: datetime) -> Transition | None:
    return cancel(task, has_cleanup=True)


def _reset(task: Task, now: datetime) -> Transition | None:
    return None if task.is_live else reset(task, run_uid=f"run at {now}")


def _progress(task: Task, _: datetime) -> Transition | None:
    return None if task.lease_uid is None else report_progress(task, '{ "half" : 1 }')


STEPS: Mapping[str, Step] = {
    "succeed": reported(Success('{"b":1,"a":2.0}')),
    "succeed with nothing": reported(Success()),
    "fail": _fail,
    "give up": reported(a_failure("boom", final=True)),
    "snooze": reported(Snoozed(TICK)),
    "release": reported(Released()),
    "expire": _expire,
    "cancel": _cancel,
    "reset": _reset,
    "progress": _progress,
}


class Life:
    """A document under steps; time goes on by a fraction."""

    def __init__(self, task: Task) -> None:
        self.document = Stored.of(task)
        self.now = NOW

    def step(self, name: str) -> None:
        """Do what a name says, if the state allows it; else claim."""
        self.now += TICK
        task = self.document.task
        transition = None if name == "claim" else STEPS[name](task, self.now)
        if transition is not None:
            after = applied(task, transition, self.now)
            self.document.change(after, expired=transition.event is Event.EXPIRE)
        elif task.is_live and task.lease_uid is None:
            after = leased(task, a_claim(f"lease at {self.now}"), now=self.now, epoch=task.epoch + 1)
            self.document.change(after, place=3)
        else:
            return
        assert self.document.task == after
        self.check()

    def check(self) -> None:
        """Compare with what Go reads."""
        fields = self.document.fields
        assert golang.faults(fields) == []
        assert golang.status(fields, self.now + timedelta(seconds=1)) == self.document.task.status(
            self.now + timedelta(seconds=1)
        )


@pytest.mark.parametrize("state", STATES)
def test_a_new_document_holds_the_record(state: str) -> None:
    """In whatever state it is written at once, but for its history."""
    task = msgspec.structs.replace(STATES[state], errors=(), error_count=0, failures=0, result=None)

    assert Stored.of(task).task == task
    assert golang.faults(Stored.of(a_task()).fields) == []


@given(some.lists(some.sampled_from(["claim", *STEPS]), max_size=60))
def test_whatever_is_decided_is_read_back(names: list[str]) -> None:
    """Field by field, after every step; and Go derives the same status."""
    life = Life(a_task())
    life.check()
    for name in names:
        life.step(name)


def test_the_history_on_the_wire_is_bounded_and_holds_reported_failures_only() -> None:
    """Expiries are kept in our own fields; of many failures the first and the latest stay."""
    life = Life(a_task())
    policy = msgspec.structs.replace(RULES, retry_policy=RULES.retry_policy)
    for number in range(40):
        life.step("claim")
        task = life.document.task
        if number % 2:
            after = applied(task, expire(task, policy, at=life.now, chance=0.0), life.now)
            after = changed(after, outcome=None, done_at=None, crashes=0)
        else:
            report = a_failure(f"failure {number}", delay=timedelta(0))
            after = applied(task, conclude(task, report, policy, chance=0.0), life.now)
            after = changed(after, outcome=None, done_at=None, failures=0)
        life.document.change(after, expired=bool(number % 2))
        assert life.document.task == after

    errors = life.document.fields["errors"]
    assert [entry["error"] for entry in errors] == ["failure 0", *(f"failure {n}" for n in (32, 34, 36, 38))]
    assert life.document.task.error_count == 40
    assert life.document.fields["attempts"] == 40


def test_a_final_failure_sets_the_attempts_to_the_errors() -> None:
    """Or Go would read it as completed after a crash."""
    life = Life(a_task())
    for name in ("claim", "expire", "claim", "give up"):
        life.step(name)

    assert life.document.task.crashes == 1
    assert (life.document.fields["attempts"], len(life.document.fields["errors"])) == (1, 1)


def test_what_we_create_differs_from_go_by_a_stated_list() -> None:
    """Ints, the waiting time, and fields of our own."""
    task = a_task(payload='{"n":7,"to":"Ada"}', created_at=NOW, wait_until=NOW, order_at=NOW)
    ours, theirs = Stored.of(task).fields, golang.created("t", NOW)

    assert {name for name in {*ours, *theirs} if repr(ours.get(name)) != repr(theirs.get(name))} == {
        "data",
        "waitUntil",
        "oncetask",
    }
    assert (ours["data"], ours["waitUntil"]) == ({"n": 7, "to": "Ada"}, golang.text(NOW))


@pytest.mark.parametrize(
    ("rule", "is_kept"),
    [
        (Recurrence(rrule="FREQ=DAILY", dtstart=NOW), False),
        (Recurrence(rrule="FREQ=DAILY", dtstart=NOW, exdates=(NOW,)), False),
        (Recurrence(rrule="FREQ=DAILY", dtstart=NOW, timezone="Europe/Zurich", catch_up="all"), True),
    ],
)
def test_a_rule_is_kept_beside_the_wire_where_go_has_no_words_for_it(rule: Recurrence, *, is_kept: bool) -> None:
    """The rest of it stands in our own field."""
    document = Stored.of(a_task(recurrence=rule))

    assert document.task.recurrence == rule
    assert ("rule" in document.fields["oncetask"]) is is_kept
    assert document.fields["recurrence"]["rrule"] == "FREQ=DAILY"


def test_the_holder_of_a_key_is_due_by_its_text() -> None:
    """Claimed in the second in which it became due; or Go's batches, which go by the text, would not see its lease."""
    due = NOW + timedelta(milliseconds=200)
    life = Life(a_task(resource_key="k", wait_until=due, order_at=due))
    waiting = life.document.fields["waitUntil"]
    life.document.change(leased(life.document.task, a_claim(), now=due + TICK / 100, epoch=1))
    held, task = life.document.fields["waitUntil"], life.document.task
    life.step("release")

    assert waiting == golang.text(NOW + timedelta(seconds=1))
    assert held == golang.text(NOW)
    assert task.wait_until == due
    assert life.document.fields["waitUntil"] == waiting


GO = ("claim", "fail", "complete", "cancel", "reset")


def stamped(life: Life) -> list[object]:
    """Return what our stamp is about."""
    return [life.document.fields[name] for name in ("doneAt", "leasedUntil", "attempts")]


class TestGoWritesOverOurs:
    """What a Go worker does to a document of ours, and what both sides then say about it."""

    @staticmethod
    def after(*names: str) -> Life:
        life = Life(a_task())
        for name in names:
            life.step(name)
        return life

    @staticmethod
    def agreed(life: Life) -> OnceTask[object]:
        """Return the record, once its status is what Go derives."""
        life.check()
        return life.document.task

    def test_a_reset_begins_a_new_run(self) -> None:
        """Counters, errors and lease of the old one are gone; the fence goes on."""
        life = self.after("claim", "fail", "claim", "succeed")
        before = life.document.task
        life.document.by_go(golang.reset, life.now)
        task = self.agreed(life)

        assert task.run_uid != before.run_uid
        assert (task.outcome, task.errors, task.failures, task.claims, task.settled_by) == (None, (), 0, 0, ())
        assert task.epoch == before.epoch
        assert task.revision > before.revision

    def test_a_reset_and_completion_within_one_second_is_another_run(self) -> None:
        """Although every stamp of ours fits again."""
        life = self.after("claim", "succeed")
        before, stamp = life.document.task, stamped(life)
        for deed in (golang.reset, golang.claim, golang.complete):
            life.document.by_go(deed, life.now)
        task = self.agreed(life)

        assert stamped(life) == stamp
        assert (task.run_uid == before.run_uid, task.outcome, task.result) == (False, Outcome.COMPLETED, None)

    def test_a_zombies_completion_ends_the_task(self) -> None:
        """Our lease is void; our own settle finds it so."""
        life = self.after()
        life.document.by_go(golang.claim, life.now)
        life.step("expire")
        life.step("claim")
        life.document.by_go(golang.complete, life.now, "late")
        task = self.agreed(life)

        assert (task.outcome, task.lease_uid, task.result) == (Outcome.COMPLETED, None, '"late"')

    def test_a_zombies_failure_voids_the_lease(self) -> None:
        """And is one more entry of the history."""
        life = self.after("claim", "fail", "claim")
        life.document.by_go(golang.fail, life.now)
        task = self.agreed(life)

        assert task.lease_uid is None
        assert [(error.error, error.attempt) for error in task.errors] == [("boom", 1), ("boom", 2)]
        assert (task.failures, task.error_count) == (2, 2)

    def test_a_failure_of_go_beside_an_unleased_task_is_counted(self) -> None:
        """Though no stamp of ours tells it."""
        life = self.after("claim", "fail")
        before = life.document.task
        life.document.by_go(golang.fail, life.now)
        task = self.agreed(life)

        assert (task.failures, task.error_count, len(task.errors)) == (2, 2, 2)
        assert task.revision > before.revision

    @pytest.mark.parametrize("names", [("claim", "fail"), (), ("claim",)])
    def test_a_cancel_is_seen_at_once(self, names: tuple[str, ...]) -> None:
        """In back-off it is due at once, although our exact time would hide it; a lease of ours goes on."""
        life = self.after(*names)
        before = life.document.task
        life.document.by_go(golang.cancel, life.now)
        task = self.agreed(life)

        assert (task.is_cancelled, task.run_uid, task.lease_uid) == (True, before.run_uid, before.lease_uid)
        assert task.wait_until <= life.now
        assert task.revision > before.revision

    def test_a_claim_after_our_expiry_voids_our_lease(self) -> None:
        """The lease is Go's now."""
        life = self.after("claim")
        life.now += timedelta(hours=1)
        life.document.by_go(golang.claim, life.now)
        task = self.agreed(life)

        assert task.lease_uid is not None
        assert task.lease_uid.startswith("go:")

    @pytest.mark.parametrize("deed", [golang.fail, golang.complete, golang.cancel])
    @pytest.mark.parametrize("ending", ["succeed", "give up"])
    def test_whoever_writes_over_an_end_decides_what_it_was(self, ending: str, deed: Callable[..., Fields]) -> None:
        """A zombie's retry leaves our `doneAt` in place, and so does a cancel that was decided on before."""
        life = self.after("claim", ending)
        before = life.document.task
        life.document.by_go(deed, life.now + TICK)
        task = self.agreed(life)

        assert task.run_uid == before.run_uid
        assert task.revision > before.revision

    @pytest.mark.parametrize("end", ["", "fail"])
    def test_a_reset_of_what_we_hold_and_a_cancel_are_another_run(self, end: str) -> None:
        """The reset was decided on before our claim; the cancel leaves no trace of it in the waiting time."""
        life = self.after("claim", *([end, "claim"] if end else []))
        before = life.document.task
        for deed in (golang.reset, golang.cancel):
            life.document.by_go(deed, life.now)
        task = self.agreed(life)

        assert (task.run_uid == before.run_uid, task.is_cancelled, task.lease_uid) == (False, True, None)
        assert (task.failures, task.claims) == (0, 0)

    def test_every_write_of_go_moves_the_revision(self) -> None:
        """A decision on the record before it is refused, also between two writes of Go."""
        life, revisions = self.after("claim", "release"), []
        for deed in (golang.claim, golang.fail, golang.cancel, golang.claim, golang.complete, golang.reset):
            revisions.append(life.document.task.revision)
            life.document.by_go(deed, life.now)

        assert revisions == sorted(set(revisions))
        assert life.document.task.revision > revisions[-1]

    @given(some.lists(some.sampled_from([*STEPS, "claim", *(f"go {deed}" for deed in GO)])))
    def test_both_sides_agree_whoever_writes(self, names: list[str]) -> None:
        """In any order, what Go derives is what we say, and every document keeps the rules."""
        life = Life(a_task())
        for name in names:
            if not name.startswith("go "):
                life.step(name)
                continue
            busy = life.document.fields["doneAt"] or life.document.fields["leasedUntil"]
            deed = getattr(golang, name.removeprefix("go "))
            if not (deed is golang.claim and busy):
                life.document.by_go(deed, life.now)
            self.agreed(life)
