"""The model machine itself: what is planted in a store or in the core's decisions is found, by a few scripts.

`ONCETASK_MODEL_CONTROLS` says how much of the randomness is played where nothing is planted.
"""

import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import pytest
from broken.claiming import ClaimIsNotRepeatable
from broken.fencing import ExpiresBlindly, NoFence, TokenWithoutGrant
from broken.plain import PlainHarness, PlainStore, Storage
from broken.renewing import RenewalRevives
from broken.seating import SeatsWhoWasInsertedAgain
from broken.writing import ResetKeepsTheRun
from msgspec.structs import replace

from oncetask_conformance.machine import check_against_model
from oncetask_core import decisions
from oncetask_core.claims import Claim
from oncetask_core.decisions import (
    KindRules,
    Report,
    Snoozed,
    Uids,
    cancel,
    conclude,
    expire,
    report_progress,
    reset,
    tick,
)
from oncetask_core.recurrence import Cursor, Due
from oncetask_core.status import Outcome
from oncetask_core.store import Claimed, Found
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom, Patch, Transition

T = TypeVar("T")
SCRIPTS = 60
RANDOMNESS = range(20300101, 20300109)
"""Played one after the other until one finds what is planted: each version of Hypothesis makes other scripts of it."""
CONTROLS = RANDOMNESS[: int(os.environ.get("ONCETASK_MODEL_CONTROLS", "3"))]
STORES = (
    NoFence,
    SeatsWhoWasInsertedAgain,
    RenewalRevives,
    ExpiresBlindly,
    ResetKeepsTheRun,
    TokenWithoutGrant,
    ClaimIsNotRepeatable,
)


def _play_until_it_differs(store: type[PlainStore], randomness: Iterable[int] = RANDOMNESS) -> int:
    """Play scripts on the store and on the model, and return how many there were.

    Raises:
        AssertionError: The store differs from the model.
    """
    return sum(
        check_against_model(PlainHarness(store), examples=SCRIPTS, randomness=one, shrink=False).examples
        for one in randomness
    )


@pytest.mark.parametrize("store", STORES)
def test_a_broken_store_is_found(store: type[PlainStore]) -> None:
    """The store differs from the model in a reply or in what is stored."""
    with pytest.raises(AssertionError) as caught:
        _play_until_it_differs(store)

    assert any(f"randomness={randomness}" in note for note in caught.value.__notes__ for randomness in RANDOMNESS)


def test_the_plain_store_is_no_broken_one() -> None:
    """Without anything planted the same scripts find nothing."""
    played = _play_until_it_differs(PlainStore, CONTROLS)

    assert played >= SCRIPTS * len(CONTROLS) > 0


def test_the_same_randomness_plays_the_same_scripts() -> None:
    """What a failure names is enough to see it again."""
    first, second = (
        str(check_against_model(PlainHarness(PlainStore), examples=10, randomness=RANDOMNESS[0])) for _ in range(2)
    )

    assert first == second


class StoreInAnotherOrder(PlainStore):
    """A correct store that answers in another order each time, wherever none is promised."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        return replace(found, tasks=dict(_in_another_order(found.tasks.items())))

    async def claim(self, claim: Claim) -> Claimed:
        claimed = await super().claim(claim)
        held = [task.id for task in claimed.tasks]
        granted = _granted.setdefault((self.storage, self.env, claim.lease_uid), held)
        is_part = set(held) < set(granted)
        return replace(claimed, tasks=_in_another_order(claimed.tasks)) if is_part else claimed


_granted: dict[tuple[Storage, str, str], list[str]] = {}
_calls = itertools.count()


def _in_another_order(values: Iterable[T]) -> list[T]:
    return list(values)[:: (-1) ** next(_calls)]


def test_an_order_that_is_not_promised_changes_no_script() -> None:
    """A server may answer otherwise each time; Hypothesis gives up where a script goes on differently."""
    expected, told = (
        str(check_against_model(PlainHarness(store), examples=SCRIPTS, randomness=RANDOMNESS[0]))
        for store in (PlainStore, StoreInAnotherOrder)
    )

    assert told == expected


def _cancel_that_takes_the_lease(task: OnceTask[object], *, has_cleanup: bool) -> Transition | None:
    decided = cancel(task, has_cleanup=has_cleanup)
    return decided and replace(decided, patch=decided.patch | Patch(lease_uid=None))


def _settle_whatever_the_revision(
    task: OnceTask[object], report: Report, rules: KindRules, *, chance: float
) -> Transition:
    decided = conclude(task, report, rules, chance=chance)
    return replace(decided, guard=replace(decided.guard, revision=None))


def _snooze_that_keeps_crashes(
    task: OnceTask[object], report: Report, rules: KindRules, *, chance: float
) -> Transition:
    decided = conclude(task, report, rules, chance=chance)
    kept = Patch(crashes=task.crashes) if isinstance(report, Snoozed) else Patch()
    return replace(decided, patch=decided.patch | kept)


def _expiry_without_a_crash_limit(
    task: OnceTask[object], rules: KindRules, *, at: datetime, chance: float
) -> Transition:
    return expire(task, replace(rules, max_crashes=0), at=at, chance=chance)


def _expiry_of_running_leases(task: OnceTask[object], rules: KindRules, *, at: datetime, chance: float) -> Transition:
    decided = expire(task, rules, at=at, chance=chance)
    return replace(decided, guard=replace(decided.guard, run_out=False))


def _progress_that_needs_the_revision(task: OnceTask[object], progress: str) -> Transition:
    decided = report_progress(task, progress)
    return replace(decided, guard=replace(decided.guard, revision=task.revision))


def _reset_of_finished_and_running(task: OnceTask[object], *, run_uid: str, resume: Cursor | None = None) -> Transition:
    return reset(replace(task, outcome=Outcome.FAILED), run_uid=run_uid, resume=resume)


def _tick_that_loses_an_occurrence(generator: OnceTask[object], due: Due, uids: Uids) -> Atom:
    ticked = tick(generator, due, uids)
    return replace(ticked, inserts=ticked.inserts[1:])


DECISIONS: Mapping[str, Sequence[object]] = {
    "cancel": [_cancel_that_takes_the_lease],
    "conclude": [_settle_whatever_the_revision, _snooze_that_keeps_crashes],
    "expire": [_expiry_without_a_crash_limit, _expiry_of_running_leases],
    "report_progress": [_progress_that_needs_the_revision],
    "reset": [_reset_of_finished_and_running],
    "tick": [_tick_that_loses_an_occurrence],
}


@pytest.mark.parametrize(
    ("name", "planted"), [(name, planted) for name, several in DECISIONS.items() for planted in several]
)
def test_a_wrong_decision_is_found(name: str, planted: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model works out for itself what the core decides."""
    monkeypatch.setattr(decisions, name, planted)

    with pytest.raises(AssertionError):
        _play_until_it_differs(PlainStore)
