"""What must hold, each rule under the name of its promise; none of them asks the rules under test."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from oncetask_core.claims import Claim
from oncetask_core.decisions import KindRules
from oncetask_core.status import Outcome
from oncetask_core.transition import Verdict
from tests.spec.rules import Task
from tests.spec.state import Entry, Token


class Rule(StrEnum):
    """A promise that the exploration watches."""

    ONE_LEASE = "S1: a claim takes what nobody holds, an expiry only what ran out"
    ONE_KEY = "S2: nobody takes a key that is held, between a grant and its accepted write"
    ENDS_ONCE = "S3: an outcome stays"
    NO_ZOMBIE = "S4: a superseded holder changes nothing"
    LOST_REPLY = "S7: asking again tells what became of the first request"
    COUNTED = "S9: grants, failures and crashes are counted as they happened"
    CANCELLED = "S10: no normal run after a cancel, a clean-up before the end, a result is kept"
    NOT_EARLY = "S11: nothing is claimed before its time"
    FINAL = "S13: a finished task is not claimed"
    NO_ABA = "S14: the holder of an earlier run changes nothing"
    HOLDER_HEARD = "G1: whoever holds the task is heard, and only a change makes it decide again"
    NEWEST = "G2: a decision holds only for the record that it was made on"
    LEASE_ENDED = "G3: the end of an attempt ends the lease"
    SEATED = "K1: of a key only the seated head is claimed, and its group"
    KEY_BUSY = "K2: while a task of the key is leased, no other has the seat"
    SEAT_GIVEN = "K3: every path ends with the seat given, and finished tasks have none"
    EARLIEST = "K4: the seat is the earliest task's"
    GROUP_FREE = "K6: a group takes no key of which anybody else holds a task"
    EXISTING = "K7: an insert of an id that exists changes nothing"
    STRICT = "K2: with strict order the seat is the oldest task's"


class ViolationError(AssertionError):
    """A promise was broken."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule.value}: {detail}")
        self.rule = rule
        self.trace: list[str] = []


def require(holds: object, rule: Rule, detail: str) -> None:
    """Raise unless the promise holds."""
    if not holds:
        raise ViolationError(rule, detail)


def check_seats(rows: Iterable[Task]) -> None:
    """Check the seat of the only key, by the letter of K2."""
    keyed = [task for task in rows if task.resource_key is not None]
    live = [task for task in keyed if task.outcome is None]
    seats = [task for task in keyed if task.head_key is not None]
    free = [task for task in live if task.lease_uid is None]
    names = [task.id for task in seats]
    require(all(task.outcome is None for task in seats), Rule.SEAT_GIVEN, f"finished, seated: {names}")
    require(len({task.lease_uid for task in live if task.lease_uid}) <= 1, Rule.ONE_KEY, "two leases on one key")
    if len(free) < len(live):
        require(all(task.lease_uid for task in seats), Rule.KEY_BUSY, f"leased, and seated: {names}")
    elif live:
        require(seats, Rule.SEAT_GIVEN, "nobody has the seat of a free key")
        oldest = min(live, key=lambda task: task.sequence)
        earliest = min(live, key=lambda task: (task.wait_until, task.sequence))
        if oldest.strict_order:
            require(seats == [oldest], Rule.STRICT, f"{names} instead of {oldest.id}")
        else:
            require(seats == [earliest], Rule.EARLIEST, f"{names} instead of {earliest.id}")


def check_grant(before: Task, after: Task, *, entry: Entry, now: datetime) -> None:
    """Check one task that a claim took."""
    require(before.outcome is None, Rule.FINAL, before.id)
    require(before.lease_uid is None, Rule.ONE_LEASE, before.id)
    require(before.wait_until <= now, Rule.NOT_EARLY, before.id)
    require(after.in_cleanup == entry.cancelled, Rule.CANCELLED, f"{before.id} was claimed for the wrong handler")
    require(after.claims == entry.grants + 1, Rule.COUNTED, f"{after.claims} claims of {before.id}")


def check_call(claim: Claim, picks: Sequence[Task], rows: Sequence[Task]) -> None:
    """Check what one claim takes of the key."""
    keyed = [task for task in picks if task.resource_key is not None]
    if keyed:
        size = claim.slots[keyed[0].kind].group
        held = [task.id for task in rows if task.resource_key is not None and task.lease_uid is not None]
        require(not held, Rule.GROUP_FREE if size > 1 else Rule.ONE_KEY, f"{keyed[0].id} taken, held: {held}")
        require(keyed[0].head_key is not None, Rule.SEATED, keyed[0].id)
        require(len(keyed) <= size, Rule.SEATED, f"{len(keyed)} in a group of {size}")


def check_verdict(verdict: Verdict, token: Token, *, row: Task | None, entry: Entry, is_doubled: bool) -> None:
    """Check the store's answer to a holder's write against what the ledger knows.

    `settled_by` names leases and not grants: where a request that was given up was granted the same lease again, the
    holders of the two grants may be told that they settled when only one of them did. Nothing is written by that.
    """
    rightful = row is not None and entry.holder == token.grant
    same_run = row is not None and row.run_uid == token.known.run_uid
    name = token.known.id
    if verdict in (Verdict.APPLIED, Verdict.CHANGED) and not rightful:
        require(not token.accepted or not same_run, Rule.LOST_REPLY, f"{name} is settled twice")
        raise ViolationError(Rule.NO_ZOMBIE if same_run else Rule.NO_ABA, name)
    if verdict is Verdict.APPLIED:
        require(token.version == entry.version, Rule.NEWEST, f"{name} was settled over an unknown change")
    elif verdict is Verdict.CHANGED:
        require(token.version != entry.version, Rule.HOLDER_HEARD, f"{name} did not change")
    elif verdict is Verdict.ALREADY:
        require(token.accepted or is_doubled, Rule.LOST_REPLY, f"{name} was never settled")
    else:
        require(not rightful, Rule.HOLDER_HEARD, f"{name} is lost to its holder")
        require(not (token.accepted and same_run), Rule.LOST_REPLY, f"{name} was settled by this lease")


def check_ended(before: Task, after: Task, *, entry: Entry, rules: KindRules) -> None:
    """Check what an accepted report or an expiry made of a task."""
    require(before.outcome is None, Rule.ENDS_ONCE, before.id)
    require(after.lease_uid is None and after.leased_until is None, Rule.LEASE_ENDED, before.id)
    require(after.revision > before.revision, Rule.NEWEST, f"{before.id} was changed without a new revision")
    if entry.cancelled and after.outcome is not None:
        require(after.outcome is Outcome.CANCELLED, Rule.CANCELLED, f"{before.id} ended as {after.outcome}")
        require(entry.in_cleanup or not rules.has_cleanup, Rule.CANCELLED, f"{before.id} ended without clean-up")
    if not entry.cancelled:
        require(after.outcome is not Outcome.CANCELLED, Rule.CANCELLED, f"nobody cancelled {before.id}")


def check_counted(before: Task, after: Task, *, event: str, entry: Entry) -> None:
    """Check that an attempt is charged as what it was; crashes are forgiven by a snooze and before the clean-up."""
    charged = event in ("fail", "expire")
    begins_cleanup = entry.cancelled and not entry.in_cleanup
    forgiven = after.outcome is None and (begins_cleanup or event == "snooze")
    counts = (after.failures, after.crashes, after.cleanup_attempts, after.error_count, after.claims)
    expected = (
        before.failures + (event == "fail" and not entry.in_cleanup),
        0 if forgiven else before.crashes + (event == "expire"),
        before.cleanup_attempts + (charged and entry.in_cleanup),
        before.error_count + charged,
        entry.grants,
    )
    require(counts == expected, Rule.COUNTED, f"{event} of {before.id} counted {counts}, not {expected}")
