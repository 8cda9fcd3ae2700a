"""Planted mistakes: each replaces one rule by a broken variant that the exploration must find."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

import msgspec

from oncetask_core import claims, seats, transition
from oncetask_core.claims import Claim
from oncetask_core.decisions import KindRules, Report, Success
from oncetask_core.status import Outcome
from oncetask_core.task import NewTask
from oncetask_core.transition import Guard, Patch, Transition, Verdict
from tests.spec import rules as real
from tests.spec.checks import Rule
from tests.spec.rules import Core, Moment, Rows, Task
from tests.spec.scenarios import CLEANED_UP, GROUPS, KEYLESS, LOST, MIXED, RECREATED, SINGLES, STRICT
from tests.spec.world import Scenario


@dataclass(frozen=True)
class Mistake:
    """One planted mistake, where it shows, and which promises it breaks there."""

    name: str
    core: Core
    scenario: Scenario
    breaks: frozenset[Rule] = field(default_factory=frozenset)


def _replaced(made: Transition, guard: Guard | None = None, patch: Patch | None = None) -> Transition:
    return Transition(made.event, made.guard if guard is None else guard, made.patch if patch is None else patch)


def _without(made: Transition, *names: str) -> Transition:
    kept = {name: value for name, value in made.patch.items() if name not in names}
    return _replaced(made, patch=cast(Patch, kept))


# Guards


def _no_fence(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """Whoever settles is believed, as in the Go library."""
    if task is not None and guard.lease_uid is not None and not guard.run_out:
        return Verdict.APPLIED
    return transition.judge(guard, task, now)


def _any_holder(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """Whoever settles is believed as long as somebody holds the task."""
    if task is None or task.lease_uid is None or guard.lease_uid is None:
        return transition.judge(guard, task, now)
    return transition.judge(msgspec.structs.replace(guard, lease_uid=task.lease_uid, epoch=None), task, now)


def _attempts_as_token(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """A number of the task's own tells grants apart, though a reset or a new creation starts it again."""
    if task is None or guard.lease_uid is None or task.lease_uid is None or task.epoch != guard.epoch:
        return transition.judge(guard, task, now)
    same = msgspec.structs.replace(guard, run_uid=task.run_uid, lease_uid=task.lease_uid)
    return transition.judge(same, task, now)


def _attempts_as_epoch(task: Task, claim: Claim, moment: Moment) -> Task:
    return msgspec.structs.replace(real.granted(task, claim, moment), epoch=task.claims + 1)


def _revision_without_run(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """The revision alone guards what administrators decide, though a new creation starts it again."""
    if task is None or guard.lease_uid is not None:
        return transition.judge(guard, task, now)
    return Verdict.APPLIED if task.revision == guard.revision else Verdict.CHANGED


def _blind_control(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """Cancel, reset and delete are read, then written blindly."""
    if task is not None and guard.lease_uid is None:
        return Verdict.APPLIED
    return transition.judge(guard, task, now)


def _no_revision(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """A settle names its lease only, and does not see that the task was cancelled meanwhile."""
    blind = msgspec.structs.replace(guard, revision=None) if guard.lease_uid is not None else guard
    return transition.judge(blind, task, now)


def _no_epoch(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """The lease names the grant, though a late request may be granted it again."""
    return transition.judge(msgspec.structs.replace(guard, epoch=None), task, now)


def _no_memory(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """A settle that was accepted is refused when it is repeated."""
    verdict = transition.judge(guard, task, now)
    return Verdict.LEASE_LOST if verdict is Verdict.ALREADY else verdict


def _too_kind(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """A lost lease is reported as a settle that was accepted."""
    verdict = transition.judge(guard, task, now)
    return Verdict.ALREADY if verdict is Verdict.LEASE_LOST else verdict


def _impatient(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """An expiry does not look at the time again."""
    return transition.judge(msgspec.structs.replace(guard, run_out=False), task, now)


def _punctual(guard: Guard, task: Task | None, now: datetime) -> Verdict:
    """A holder is refused as soon as its lease has run out, though nobody took it."""
    over = task is not None and task.leased_until is not None and task.leased_until <= now
    return Verdict.LEASE_LOST if over and not guard.run_out else transition.judge(guard, task, now)


# Claims


def _takes_unseated(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A claim does not ask who has the seat."""
    due = [task for task in rows if claims.is_due(task, now) and task.kind in claim.slots]
    return sorted(due, key=lambda task: -task.sequence)[:1]


def _takes_free(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A claim that finds nobody seated takes what is due."""
    due = [task for task in rows if claims.is_due(task, now) and task.kind in claim.slots]
    return claims.chosen(claim, rows, now) or due[:1]


def _takes_groups_freely(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A group's claim that finds nobody seated takes what is due."""
    is_group = any(slots.group > 1 for slots in claim.slots.values())
    return _takes_free(claim, rows, now) if is_group else claims.chosen(claim, rows, now)


def _takes_leased(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A claim takes over leases that ran out, without an expiry."""
    over = [task for task in rows if task.leased_until is not None and task.leased_until <= now]
    return over[:1] or claims.chosen(claim, rows, now)


def _takes_finished(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A claim looks at the time only."""
    done = [task for task in rows if task.outcome is not None and task.kind in claim.slots]
    return done[:1] or claims.chosen(claim, rows, now)


def _takes_early(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A claim trusts a clock that is fast."""
    return claims.chosen(claim, rows, now + timedelta(seconds=1))


def _big_groups(claim: Claim, rows: Rows, now: datetime) -> Rows:
    """A group takes whatever belongs to the key."""
    picks = claims.chosen(claim, rows, now)
    key = picks[0].resource_key if picks else None
    return picks if key is None else [*picks, *(t for t in rows if t.resource_key == key and t not in picks)]


def _never_cleans_up(task: Task, claim: Claim, moment: Moment) -> Task:
    """A claim does not tell which handler it is for."""
    return msgspec.structs.replace(real.granted(task, claim, moment), in_cleanup=False)


def _uncounted(task: Task, claim: Claim, moment: Moment) -> Task:
    """A claim is not counted."""
    return msgspec.structs.replace(real.granted(task, claim, moment), claims=task.claims)


def _not_repeatable(claim: Claim, rows: Rows) -> Rows:
    """A repeated claim does not find what the first one was granted."""
    return []


# Seats


def _expired_is_free(rows: Rows) -> Task | None:
    """Whoever is leased does not hold up the key: the token of the task is enough, one thinks."""
    return seats.rightful_head([task for task in rows if task.lease_uid is None])


def _freed_by_first(rows: Rows) -> Task | None:
    """The key passes on with the first member of a group that ends."""
    leased = [task for task in rows if task.lease_uid is not None]
    ended = any(task.settled_by and task.lease_uid is None for task in rows)
    return _expired_is_free(rows) if leased and ended else seats.rightful_head(rows)


def _first_come(rows: Rows) -> Task | None:
    """Who has the seat keeps it."""
    sitting = [task for task in rows if task.head_key is not None and task.lease_uid is None and task.is_live]
    return sitting[0] if sitting else seats.rightful_head(rows)


def _newest_first(rows: Rows) -> Task | None:
    """The order of creation is turned round."""
    free = [task for task in rows if seats.contends(task)]
    busy = any(task.lease_uid is not None for task in free)
    return None if busy or not free else max(free, key=lambda task: task.sequence)


def _due_time_only(rows: Rows) -> Task | None:
    """A strict order is forgotten."""
    head = seats.rightful_head(rows)
    return head and min((task for task in rows if seats.contends(task)), key=lambda t: (t.wait_until, t.sequence))


def _nobody_cleared(rows: Rows, head: Task | None, key: str) -> list[Task]:
    """The seat is given, but never taken from anybody."""
    given = real.seated(rows, head, key)
    return [new if new.head_key is not None else old for old, new in zip(rows, given, strict=True)]


def _never_seated(rows: Rows, head: Task | None, key: str) -> list[Task]:
    """Only a creation gives the seat."""
    fresh = all(task.revision == 0 for task in rows)
    return real.seated(rows, head if fresh else None, key)


def _seat_for_existing(new: NewTask, existing: Task | None, moment: Moment) -> Task:
    """An insert takes the seat for its id, whether or not the id existed."""
    if existing is None:
        return real.inserted(new, existing, moment)
    return msgspec.structs.replace(existing, head_key=existing.resource_key, created_by=new.created_by)


# Decisions


def _keeps_token(task: Task, kind_rules: KindRules, now: datetime) -> Transition:
    """An expiry charges the crash, but leaves the lease to whoever takes it over."""
    return _without(real.expired(task, kind_rules, now), "lease_uid")


def _forgives(task: Task, kind_rules: KindRules, now: datetime) -> Transition:
    """An expiry leaves no trace."""
    return _without(real.expired(task, kind_rules, now), "crashes", "errors", "error_count")


def _release_on_expiry(task: Task, kind_rules: KindRules, now: datetime) -> Transition:
    """An expiry forgets that the task was cancelled."""
    plain = msgspec.structs.replace(task, is_cancelled=False, in_cleanup=False)
    decided = real.expired(plain, msgspec.structs.replace(kind_rules, max_crashes=1), now)
    return _replaced(decided, guard=real.expired(task, kind_rules, now).guard)


def _keeps_lease(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """A settle leaves the lease to run out."""
    return _without(real.concluded(task, report, kind_rules), "lease_uid", "leased_by", "leased_until")


def _keeps_seat(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """A settle leaves the seat where it was."""
    return _without(real.concluded(task, report, kind_rules), "head_key")


def _cancelled_completes(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """A run that succeeds completes its task, cancelled or not."""
    made = real.concluded(task, report, kind_rules)
    return _replaced(made, patch=made.patch | Patch(outcome=Outcome.COMPLETED)) if isinstance(report, Success) else made


def _skips_cleanup(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """A cancelled run ends its task, as if no kind had a clean-up."""
    return real.concluded(task, report, msgspec.structs.replace(kind_rules, has_cleanup=False))


def _loses_result(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """The value of a cancelled run is thrown away."""
    return _without(real.concluded(task, report, kind_rules), "result" if task.is_cancelled else "progress")


def _charges_releases(task: Task, report: Report, kind_rules: KindRules) -> Transition:
    """Giving a task back counts as a failure."""
    made = real.concluded(task, report, kind_rules)
    return _replaced(made, patch=Patch(failures=task.failures + 1) | made.patch)


def _cancels_at_once(task: Task, kind_rules: KindRules) -> Transition | None:
    """A cancel takes a running task away from its holder."""
    made = real.cancelled(task, kind_rules)
    return made and _replaced(made, patch=made.patch | Patch(lease_uid=None, leased_until=None))


def _cancels_finished(task: Task, kind_rules: KindRules) -> Transition | None:
    """A cancel does not ask whether the task has ended."""
    return real.cancelled(msgspec.structs.replace(task, outcome=None), kind_rules)


def _cancels_without_cleanup(task: Task, kind_rules: KindRules) -> Transition | None:
    """A cancel ends a waiting task, as if no kind had a clean-up."""
    return real.cancelled(task, msgspec.structs.replace(kind_rules, has_cleanup=False))


def _keeps_run(task: Task, run_uid: str) -> Transition:
    """A reset goes on under the name of the run that ended."""
    return real.restarted(task, task.run_uid)


def _counts_renewals(task: Task, until: datetime) -> Task:
    """A renewal makes decisions on the record stale."""
    return msgspec.structs.replace(task, leased_until=until, revision=task.revision + 1)


def _same_revision(task: Task, made: Transition, now: datetime) -> Task:
    """A change does not raise the revision."""
    return msgspec.structs.replace(transition.applied(task, made, now), revision=task.revision)


def _judged(judge: Callable[[Guard, Task | None, datetime], Verdict]) -> Core:
    return Core(judge=judge)


def _mistake(name: str, core: Core, scenario: Scenario, *breaks: Rule) -> Mistake:
    return Mistake(name, core, scenario, frozenset(breaks))


_RUNNING = replace(SINGLES, operations=("cancel",))

MISTAKES = (
    _mistake("no fence", _judged(_no_fence), SINGLES, Rule.LOST_REPLY),
    _mistake("any holder will do", _judged(_any_holder), replace(SINGLES, lost=0), Rule.NO_ZOMBIE),
    _mistake(
        "attempts as token",
        Core(judge=_attempts_as_token, granted=_attempts_as_epoch),
        replace(RECREATED, claims=2),
        Rule.NO_ABA,
    ),
    _mistake("revision without run", _judged(_revision_without_run), RECREATED, Rule.NEWEST),
    _mistake("blind cancel", _judged(_blind_control), _RUNNING, Rule.NEWEST),
    _mistake("settle without revision", _judged(_no_revision), _RUNNING, Rule.NEWEST),
    _mistake("lease without epoch", _judged(_no_epoch), LOST, Rule.LOST_REPLY, Rule.NO_ZOMBIE),
    _mistake("lost reply is refused", _judged(_no_memory), SINGLES, Rule.LOST_REPLY),
    _mistake("lost lease is praised", _judged(_too_kind), SINGLES, Rule.LOST_REPLY),
    _mistake("expiry ignores the time", _judged(_impatient), SINGLES, Rule.ONE_LEASE),
    _mistake("holder refused by the clock", _judged(_punctual), SINGLES, Rule.HOLDER_HEARD),
    _mistake("claim ignores seats", Core(chosen=_takes_unseated), SINGLES, Rule.SEATED),
    _mistake("claim takes what is free", Core(chosen=_takes_free), SINGLES, Rule.ONE_KEY),
    _mistake("group takes what is free", Core(chosen=_takes_groups_freely), GROUPS, Rule.GROUP_FREE),
    _mistake("claim takes over", Core(chosen=_takes_leased), KEYLESS, Rule.ONE_LEASE),
    _mistake("claim takes finished", Core(chosen=_takes_finished), KEYLESS, Rule.FINAL),
    _mistake("claim comes early", Core(chosen=_takes_early), SINGLES, Rule.NOT_EARLY),
    _mistake("group without bounds", Core(chosen=_big_groups), SINGLES, Rule.SEATED),
    _mistake("claim for the wrong handler", Core(granted=_never_cleans_up), CLEANED_UP, Rule.CANCELLED),
    _mistake("claim is not counted", Core(granted=_uncounted), SINGLES, Rule.COUNTED),
    _mistake("claim cannot be repeated", Core(held=_not_repeatable), SINGLES, Rule.LOST_REPLY),
    _mistake("token of the task alone", Core(rightful_head=_expired_is_free), SINGLES, Rule.KEY_BUSY),
    _mistake("key passes with the first member", Core(rightful_head=_freed_by_first), GROUPS, Rule.KEY_BUSY),
    _mistake("seat is kept", Core(rightful_head=_first_come), replace(SINGLES, lost=0), Rule.EARLIEST),
    _mistake("newest first", Core(rightful_head=_newest_first), SINGLES, Rule.EARLIEST),
    _mistake("strict order forgotten", Core(rightful_head=_due_time_only), STRICT, Rule.STRICT),
    _mistake("seat is not cleared", Core(seated=_nobody_cleared), SINGLES, Rule.EARLIEST),
    _mistake("seat is not given", Core(seated=_never_seated), SINGLES, Rule.SEAT_GIVEN),
    _mistake("seat for an id that existed", Core(inserted=_seat_for_existing), SINGLES, Rule.EXISTING),
    _mistake("expiry keeps the token", Core(expired=_keeps_token), SINGLES, Rule.LEASE_ENDED),
    _mistake("expiry leaves no trace", Core(expired=_forgives), SINGLES, Rule.COUNTED),
    _mistake("expiry forgets a cancel", Core(expired=_release_on_expiry), _RUNNING, Rule.CANCELLED),
    _mistake("settle keeps the lease", Core(concluded=_keeps_lease), SINGLES, Rule.LEASE_ENDED),
    _mistake("settle keeps the seat", Core(concluded=_keeps_seat), SINGLES, Rule.SEAT_GIVEN),
    _mistake("cancelled run completes", Core(concluded=_cancelled_completes), _RUNNING, Rule.CANCELLED),
    _mistake("clean-up is skipped", Core(concluded=_skips_cleanup), CLEANED_UP, Rule.CANCELLED),
    _mistake("result is lost", Core(concluded=_loses_result), _RUNNING, Rule.CANCELLED),
    _mistake("release is charged", Core(concluded=_charges_releases), MIXED, Rule.COUNTED),
    _mistake("cancel takes away", Core(cancelled=_cancels_at_once), _RUNNING, Rule.HOLDER_HEARD),
    _mistake("cancel of what has ended", Core(cancelled=_cancels_finished), _RUNNING, Rule.ENDS_ONCE),
    _mistake("cancel without clean-up", Core(cancelled=_cancels_without_cleanup), CLEANED_UP, Rule.CANCELLED),
    _mistake("reset keeps the run", Core(restarted=_keeps_run), KEYLESS, Rule.NO_ABA),
    _mistake("renewal counts as change", Core(renewed=_counts_renewals), SINGLES, Rule.HOLDER_HEARD),
    _mistake("revision stays", Core(applied=_same_revision), MIXED, Rule.NEWEST),
)
