"""How a generator moves on: its due occurrences and its next slot are one atom."""

from datetime import datetime

import msgspec

from oncetask_core.decisions.ending import decided_on, ended, recorded
from oncetask_core.recurrence import Due, occurrence_id
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask, OnceTask, order_at
from oncetask_core.transition import Atom, Event, Patch, Transition


class Uids(msgspec.Struct, frozen=True, kw_only=True):
    """The random identities that a tick needs."""

    created_by: str
    run_uids: tuple[str, ...]
    """One for each slot that fires."""


def tick(generator: OnceTask[object], due: Due, uids: Uids) -> Atom:
    """Return the occurrences that fire and the generator's move to its next slot, or to its end.

    The guard is the generator's revision, so of any number of workers that tick at once one succeeds.
    """
    patch = _move(generator, due)
    fired = zip(due.fire, uids.run_uids, strict=True)
    return Atom(
        transitions=(Transition(Event.TICK, decided_on(generator), patch),),
        inserts=tuple(_occurrence(generator, slot, run_uid, created_by=uids.created_by) for slot, run_uid in fired),
    )


def _move(generator: OnceTask[object], due: Due) -> Patch:
    if due.next is None:
        return ended(Outcome.COMPLETED)
    slot = due.next.slot
    return Patch(wait_until=slot, order_at=order_at(slot, generator.priority), slots_used=due.next.used)


def _occurrence(generator: OnceTask[object], slot: datetime, run_uid: str, *, created_by: str) -> NewTask:
    return NewTask(
        id=occurrence_id(generator.id, slot),
        kind=generator.kind,
        payload=generator.payload,
        run_uid=run_uid,
        created_by=created_by,
        wait_until=slot,
        resource_key=generator.resource_key,
        strict_order=generator.strict_order,
        queue=generator.queue,
        priority=generator.priority,
        headers=generator.headers,
        parent_recurrence_id=generator.id,
        occurrence_timestamp=slot,
    )


def call_off(generator: OnceTask[object]) -> Atom:
    """Return the end of a generator that was cancelled and is live: a Go worker leaves that to the next tick."""
    return Atom(transitions=(Transition(Event.TICK, decided_on(generator), ended(Outcome.CANCELLED)),))


def break_off(generator: OnceTask[object], text: str, *, at: datetime) -> Atom:
    """Return the end of a generator whose rule cannot be evaluated: failed, with the reason recorded."""
    patch = recorded(generator, text, at=at, attempt=1) | ended(Outcome.FAILED)
    return Atom(transitions=(Transition(Event.TICK, decided_on(generator), patch),))
