"""How a generator moves on."""

from datetime import timedelta

import pytest

from oncetask_core.decisions import Uids, break_off, call_off, tick
from oncetask_core.decisions.ending import decided_on
from oncetask_core.recurrence import Cursor, Due, occurrence_id
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask
from oncetask_core.transition import Event
from tests.core.records import NOW, a_generator, changed, written

DAY = timedelta(days=1)
GENERATOR = a_generator(
    resource_key="key", strict_order=True, queue="slow", priority=2, headers={"a": "b"}, payload='{"to":"Eve"}'
)
UIDS = Uids(created_by="call 2", run_uids=("run 2", "run 3"))


def test_occurrences_and_the_next_slot_are_one_atom() -> None:
    """The generator's move is guarded by its revision, and the occurrences come with it."""
    atom = tick(GENERATOR, Due(fire=(NOW, NOW + DAY), next=Cursor(slot=NOW + 2 * DAY, used=5)), UIDS)

    (transition,) = atom.transitions
    after = written(GENERATOR, transition)
    assert (transition.event, transition.guard) == (Event.TICK, decided_on(GENERATOR))
    assert (after.wait_until, after.slots_used) == (NOW + 2 * DAY, 5)
    assert after.order_at == NOW + 2 * DAY - timedelta(minutes=2)
    assert [new.occurrence_timestamp for new in atom.inserts] == [NOW, NOW + DAY]
    assert [new.run_uid for new in atom.inserts] == ["run 2", "run 3"]


def test_occurrence_inherits_everything_but_the_rule() -> None:
    """It is a task of the same kind and key, due at its slot, and knows where it comes from."""
    atom = tick(GENERATOR, Due(fire=(NOW,), next=None), Uids(created_by="call 2", run_uids=("run 2",)))

    assert atom.inserts == (
        NewTask(
            id=occurrence_id("g", NOW),
            kind="kind",
            payload='{"to":"Eve"}',
            run_uid="run 2",
            created_by="call 2",
            wait_until=NOW,
            resource_key="key",
            strict_order=True,
            queue="slow",
            priority=2,
            headers={"a": "b"},
            parent_recurrence_id="g",
            occurrence_timestamp=NOW,
        ),
    )


def test_generator_ends_with_its_last_slot() -> None:
    """A rule without a next slot completes its generator."""
    atom = tick(GENERATOR, Due(fire=(), next=None), Uids(created_by="call 2", run_uids=()))

    after = written(GENERATOR, atom.transitions[0])
    assert (after.outcome, after.done_at, atom.inserts) == (Outcome.COMPLETED, NOW, ())


def test_every_occurrence_needs_an_identity() -> None:
    """Too few or too many are a mistake of the caller."""
    with pytest.raises(ValueError, match="argument"):
        tick(GENERATOR, Due(fire=(NOW,), next=None), UIDS)


def test_generator_that_was_cancelled_ends() -> None:
    """Without another occurrence; the guard is what was decided on."""
    generator = changed(GENERATOR, is_cancelled=True, cancelled_at=NOW)
    atom = call_off(generator)

    after = written(generator, atom.transitions[0])
    assert (after.outcome, after.done_at, atom.inserts) == (Outcome.CANCELLED, NOW, ())
    assert atom.transitions[0].guard.revision == generator.revision


def test_generator_that_cannot_be_evaluated_fails() -> None:
    """The reason is recorded, and nothing is created."""
    atom = break_off(GENERATOR, "no such zone", at=NOW)

    after = written(GENERATOR, atom.transitions[0])
    assert (after.outcome, after.errors[0].error, after.error_count) == (Outcome.FAILED, "no such zone", 1)
    assert (after.errors[0].at, after.errors[0].attempt) == (NOW, 1)
    assert atom.inserts == ()
