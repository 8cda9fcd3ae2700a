"""What the exploration knows: the rows of a tiny store, what workers remember, and a ledger of its own.

The ledger is kept by the exploration alone: it numbers grants and changes itself and never looks at the tokens
that the rules under test use, so that a rule with a bad token cannot hide behind it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from oncetask_core.claims import Claim
from oncetask_core.clock import START
from tests.spec.rules import Task

SECOND = timedelta(seconds=1)
KEY = "key"


class Token(NamedTuple):
    """What a worker remembers of one task that it was granted."""

    known: Task
    """The record that it decides on."""
    grant: int
    """Which grant it is, by the ledger."""
    call: int
    """Which claim call it came from."""
    version: int
    """Which change of the task the record shows, by the ledger."""
    report: str | None = None
    """What it has sent, once it has; an attempt ends in one way only."""
    accepted: bool = False
    """Whether the store took the report and the reply was lost."""


class Entry(NamedTuple):
    """What the ledger says about one id."""

    run: int = 0
    """Rises with every creation, reset and deletion."""
    version: int = 0
    """Rises with every change but renewals."""
    holder: int | None = None
    """The grant that holds the task."""
    in_cleanup: bool = False
    """Whether that grant was made after a cancellation was acknowledged."""
    cancelled: bool = False
    """Whether a cancellation was acknowledged in this run."""
    grants: int = 0
    """How many grants there were in this run."""


class Reading(NamedTuple):
    """A record that an administrator read some time ago, and may still act upon."""

    known: Task
    version: int


class State(NamedTuple):
    """One state of the exploration."""

    rows: tuple[Task, ...]
    """By id; a deleted task has none."""
    ledger: Mapping[str, Entry]
    tokens: tuple[Token, ...] = ()
    stalled: tuple[Claim, ...] = ()
    """Claim requests that were given up and may still arrive."""
    doubled: frozenset[str | None] = frozenset()
    """Leases under which a stalled request was granted something when their claim call was over."""
    reading: Reading | None = None
    key_call: int = 0
    """The claim call that took the key last."""
    now: datetime = START
    fresh: int = 100
    """Where new identities, epochs and sequences come from."""
    claims: int = 0
    controls: int = 0
    lost: int = 0
    """How many more claim calls, control operations and lost messages there may be."""

    def row(self, task_id: str) -> Task | None:
        """Return the row with this id."""
        return next((task for task in self.rows if task.id == task_id), None)


def fingerprint(state: State) -> tuple[object, ...]:
    """Return what distinguishes the state: identities by their order of appearance, times by their order."""
    waits = sorted({task.wait_until for task in state.rows if task.wait_until <= state.now})
    leases: dict[str | None, int] = {None: 0}
    for task in state.rows:
        leases.setdefault(task.lease_uid, len(leases))
    relevant = {token.known.lease_uid for token in state.tokens} | {claim.lease_uid for claim in state.stalled}
    for uid in sorted(uid for uid in relevant if uid is not None):
        leases.setdefault(uid, len(leases))
    sequences = sorted(task.sequence for task in state.rows)
    return (
        tuple(
            (
                _of_task(task, leases),
                sequences.index(task.sequence),
                waits.index(task.wait_until) if task.wait_until <= state.now else task.wait_until - state.now,
                task.leased_until is not None and task.leased_until > state.now,
                _of_entry(state.ledger[task.id]),
            )
            for task in state.rows
        ),
        tuple(sorted(_of_token(token, state, leases) for token in state.tokens)),
        tuple((leases[claim.lease_uid], claim.suspects) for claim in state.stalled),
        state.reading
        and (
            _of_task(state.reading.known, leases),
            state.ledger[state.reading.known.id].version - state.reading.version,
            state.reading.known.run_uid == getattr(state.row(state.reading.known.id), "run_uid", None),
        ),
        (state.claims, state.controls, state.lost),
    )


def _of_task(task: Task, leases: Mapping[str | None, int]) -> tuple[object, ...]:
    return (
        task.id,
        leases.get(task.lease_uid),
        task.head_key is None,
        task.in_cleanup,
        task.failures,
        task.crashes,
        task.cleanup_attempts,
        task.is_cancelled,
        task.outcome,
        task.result is None,
        tuple(leases[uid] for uid in task.settled_by if uid in leases),
    )


def _of_entry(entry: Entry) -> tuple[object, ...]:
    return (entry.holder is None, entry.in_cleanup, entry.cancelled)


def _of_token(token: Token, state: State, leases: Mapping[str | None, int]) -> tuple[object, ...]:
    row, entry = state.row(token.known.id), state.ledger[token.known.id]
    return (
        token.known.id,
        leases[token.known.lease_uid],
        token.report or "",
        token.accepted,
        token.known.lease_uid in state.doubled,
        token.call == state.key_call,
        entry.holder == token.grant,
        token.known.in_cleanup,
        row is not None and row.run_uid == token.known.run_uid,
        row is not None and row.epoch == token.known.epoch,
        row is not None and row.revision == token.known.revision,
        row is not None and row.claims == token.known.claims,
        row is not None and row.attempts == token.known.attempts,
    )
