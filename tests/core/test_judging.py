"""Guards: whose decision may be written over which record."""

from datetime import timedelta

import pytest

from oncetask_core.decisions import Released, Success, cancel, conclude, deletion, expire, report_progress, reset
from oncetask_core.decisions.ending import decided_on, held
from oncetask_core.task import StoreNow
from oncetask_core.transition import Event, Guard, Patch, Transition, Verdict, applied, judge
from tests.core import records
from tests.core.records import NOW, RULES, SECOND, STATES, Task, a_task, changed, written

LEASED = STATES["leased"]
RUN_OUT = STATES["run out"]

CHANGES = [
    ("as it was", {}, Verdict.APPLIED, Verdict.APPLIED),
    ("renewed", {"leased_until": NOW + timedelta(hours=1)}, Verdict.APPLIED, Verdict.APPLIED),
    ("progressed", {"progress": "1"}, Verdict.APPLIED, Verdict.APPLIED),
    ("seated", {"head_key": "key"}, Verdict.APPLIED, Verdict.APPLIED),
    ("revised", {"revision": 9}, Verdict.CHANGED, Verdict.CHANGED),
    ("granted anew under the same lease", {"epoch": 2, "revision": 3}, Verdict.LEASE_LOST, Verdict.CHANGED),
    ("leased by somebody else", {"lease_uid": "lease 2", "revision": 3}, Verdict.LEASE_LOST, Verdict.CHANGED),
    ("unleased", {"lease_uid": None, "revision": 2}, Verdict.LEASE_LOST, Verdict.CHANGED),
    ("settled", {"lease_uid": None, "settled_by": ("lease 1",), "revision": 2}, Verdict.ALREADY, Verdict.CHANGED),
    (
        "settled, and leased by somebody else",
        {"lease_uid": "lease 2", "settled_by": ("lease 1",), "revision": 3},
        Verdict.ALREADY,
        Verdict.CHANGED,
    ),
    ("in another run", {"run_uid": "run 2"}, Verdict.LEASE_LOST, Verdict.CHANGED),
    ("in another run, settled", {"run_uid": "run 2", "settled_by": ("lease 1",)}, Verdict.LEASE_LOST, Verdict.CHANGED),
]


@pytest.mark.parametrize(("name", "change", "holder", "other"), CHANGES, ids=[row[0] for row in CHANGES])
def test_guard_is_judged_by_what_became_of_the_record(
    *, name: str, change: dict[str, object], holder: Verdict, other: Verdict
) -> None:
    """A holder's guard asks for run, grant and revision; anybody else's for run and revision."""
    task = changed(LEASED, **change)

    assert judge(held(LEASED), task, NOW) is holder, name
    assert judge(decided_on(LEASED), task, NOW) is other, name


@pytest.mark.parametrize("guard", [held(LEASED), decided_on(LEASED)])
def test_record_that_is_gone_is_missing(guard: Guard) -> None:
    """A deleted task answers everybody alike."""
    assert judge(guard, None, NOW) is Verdict.MISSING


def test_progress_takes_any_revision_but_only_its_grant() -> None:
    """A cancel in between does not refuse progress; another grant does."""
    guard = report_progress(LEASED, "1").guard

    assert judge(guard, changed(LEASED, revision=9), NOW) is Verdict.APPLIED
    assert judge(guard, changed(LEASED, epoch=2), NOW) is Verdict.LEASE_LOST


def test_guard_without_epoch_does_not_tell_grants_apart() -> None:
    """The epoch is optional in a guard."""
    guard = Guard(id="t", run_uid="run 1", kind="k", resource_key=None, lease_uid="lease 1")

    assert judge(guard, changed(LEASED, epoch=2), NOW) is Verdict.APPLIED


def test_guard_of_nobody_never_holds() -> None:
    """A guard that names neither lease nor revision protects the record from whoever made it."""
    assert judge(Guard(id="t", run_uid="run 1", kind="k", resource_key=None), LEASED, NOW) is Verdict.CHANGED


EXPIRY = expire(RUN_OUT, RULES, at=NOW, chance=0.0).guard


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.APPLIED),
        ({"leased_until": NOW - SECOND}, Verdict.APPLIED),
        ({"leased_until": NOW + timedelta(microseconds=1)}, Verdict.CHANGED),
        ({"leased_until": None}, Verdict.CHANGED),
        ({"revision": 9}, Verdict.CHANGED),
        ({"lease_uid": None, "settled_by": ("lease 1",)}, Verdict.LEASE_LOST),
        ({"lease_uid": "lease 2"}, Verdict.LEASE_LOST),
    ],
)
def test_expiry_holds_only_for_a_lease_that_has_run_out(change: dict[str, object], verdict: Verdict) -> None:
    """The store looks at the time again; a settled task was never expired by whoever asks."""
    assert judge(EXPIRY, changed(RUN_OUT, **change), NOW) is verdict


def test_holder_is_heard_after_its_lease_ran_out() -> None:
    """Safety does not depend on a clock: as long as nobody took over, the holder may settle."""
    assert judge(held(RUN_OUT), RUN_OUT, NOW + timedelta(days=1)) is Verdict.APPLIED


def test_repeated_settle_is_recognised() -> None:
    """Asking again after a lost reply says that it was done, and a release counts, too."""
    for report in (Success(), Released(), records.a_failure()):
        transition = conclude(LEASED, report, RULES, chance=0.0)
        after = written(LEASED, transition)

        assert judge(transition.guard, after, NOW) is Verdict.ALREADY


def test_repeated_control_decision_is_refused() -> None:
    """What others decided holds once, for it was made on a record that is no more."""
    pending, done = STATES["pending"], STATES["completed"]
    for task, transition in (
        (pending, cancel(pending, has_cleanup=True)),
        (done, reset(done, run_uid="run 2")),
    ):
        assert transition is not None
        assert judge(transition.guard, task, NOW) is Verdict.APPLIED
        assert judge(transition.guard, written(task, transition), NOW) is Verdict.CHANGED


def test_deletion_is_guarded_like_any_decision() -> None:
    """A record that changed since it was read is not deleted."""
    assert judge(deletion(LEASED), LEASED, NOW) is Verdict.APPLIED
    assert judge(deletion(LEASED), changed(LEASED, revision=9), NOW) is Verdict.CHANGED


def _patched(event: Event, patch: Patch) -> Task:
    return applied(a_task(), Transition(event, decided_on(a_task()), patch), NOW)


def test_patch_writes_what_it_names() -> None:
    """Absent means untouched, None means cleared, and times are resolved by the store's clock."""
    after = _patched(Event.RESCHEDULE, Patch(wait_until=StoreNow(SECOND), result=None))

    assert after == changed(a_task(), wait_until=NOW + SECOND, revision=1)


def test_progress_makes_no_decision_stale() -> None:
    """Every event raises the revision but progress."""
    raised = {event for event in Event if _patched(event, Patch()).revision == 1}

    assert raised == set(Event) - {Event.PROGRESS}
    assert {event for event in Event if Transition(event, decided_on(a_task()), Patch()).bumps_revision} == raised
