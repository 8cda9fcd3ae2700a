"""A tiny store and the events that may happen to it; every event is checked as it happens."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from oncetask_core.claims import Claim, Slots, is_due
from oncetask_core.clock import START
from oncetask_core.decisions import Failure, KindRules, Released, Report, Snoozed, Success
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.seats import seat_faults
from oncetask_core.task import NewTask
from oncetask_core.transition import Transition, Verdict
from tests.spec.checks import (
    Rule,
    check_call,
    check_counted,
    check_ended,
    check_grant,
    check_seats,
    check_verdict,
    require,
)
from tests.spec.rules import Core, Moment, Task
from tests.spec.state import KEY, SECOND, Entry, State, Token

REPORTS: dict[str, Report] = {
    "succeed": Success('"value"'),
    "fail": Failure(error=RuntimeError("no"), text="no", at=START),
    "snooze": Snoozed(SECOND),
    "release": Released(),
}


class Step(NamedTuple):
    """Something that may happen, and the state after it."""

    event: str
    detail: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Which tasks there are, and how much may happen to them."""

    name: str
    keyed: tuple[str, ...] = ("a", "b")
    keyless: tuple[str, ...] = ()
    strict: bool = False
    group: int = 1
    has_cleanup: bool = False
    claims: int = 2
    controls: int = 1
    lost: int = 1
    reports: tuple[str, ...] = ("succeed", "fail", "snooze", "release")
    operations: tuple[str, ...] = ("cancel", "reset", "delete", "create", "reschedule")
    attempts: int = 2
    rules: KindRules = field(init=False)

    def __post_init__(self) -> None:
        policy = FixedDelayPolicy(delay=1, max_attempts=self.attempts)
        rules = KindRules(
            retry_policy=policy, cleanup_policy=policy, has_cleanup=self.has_cleanup, max_crashes=self.attempts
        )
        object.__setattr__(self, "rules", rules)

    def new(self, task_id: str, run: int) -> NewTask:
        """Return the task that has this id."""
        is_keyed = task_id in self.keyed
        return NewTask(
            id=task_id,
            kind="keyed" if is_keyed else "free",
            payload="{}",
            run_uid=f"run {run}",
            created_by=f"call {run}",
            resource_key=KEY if is_keyed else None,
            strict_order=self.strict and is_keyed,
        )


class World:
    """One scenario under one set of rules."""

    def __init__(self, scenario: Scenario, core: Core) -> None:
        self.scenario = scenario
        self.core = core

    def start(self) -> State:
        """Return the state in which every task has just been created."""
        ids = sorted((*self.scenario.keyed, *self.scenario.keyless))
        rows = tuple(
            self.core.inserted(self.scenario.new(task_id, number), None, Moment(START, number))
            for number, task_id in enumerate(ids)
        )
        budget = self.scenario
        return self.settled_down(
            State(
                rows=rows,
                ledger={task_id: Entry() for task_id in ids},
                claims=budget.claims,
                controls=budget.controls,
                lost=budget.lost,
            )
        )

    def settled_down(self, state: State) -> State:
        """Return the state with the seats given as a store gives them, checked."""
        keyed = [task for task in state.rows if task.resource_key is not None]
        if not keyed:
            return state
        given = {task.id: task for task in self.core.seated(keyed, self.core.rightful_head(keyed), KEY)}
        rows = tuple(given.get(task.id, task) for task in state.rows)
        check_seats(rows)
        faults = seat_faults([task for task in rows if task.resource_key is not None])
        require(not faults, Rule.SEAT_GIVEN, "; ".join(faults))
        return state._replace(rows=rows)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield everything that may happen next."""
        yield from self._claims(state)
        yield from self._arrivals(state)
        for token in state.tokens:
            yield from self._settlements(state, token)
        for task in state.rows:
            if task.lease_uid is not None:
                yield from self._expiries(state, task)
        yield from self._renewals(state)
        yield from self._time(state)

    def _time(self, state: State) -> Iterator[Step]:
        ahead = [task.wait_until for task in state.rows if task.is_live]
        ahead += [task.leased_until for task in state.rows if task.leased_until is not None]
        if any(time > state.now for time in ahead):
            yield Step("time passes", "1 s", state._replace(now=state.now + SECOND))

    # Claims

    def _claims(self, state: State) -> Iterator[Step]:
        if not state.claims:
            return
        due = [task for task in state.rows if is_due(task, state.now)]
        for kind, suspects in sorted({(task.kind, task.is_suspect) for task in due}):
            for size in sorted({1, self.scenario.group} if kind == "keyed" else {1}):
                claim = Claim(
                    lease_uid=f"lease {state.fresh}",
                    leased_by="a worker",
                    lease_for=SECOND,
                    slots={kind: Slots(1, size)},
                    suspects=suspects,
                )
                yield from self._claim(state, claim)

    def _claim(self, state: State, claim: Claim) -> Iterator[Step]:
        taken = "suspects" if claim.suspects else "tasks"
        detail = f"{taken} by {claim.lease_uid} of {claim.slots}"
        after = self._granted(state._replace(claims=state.claims - 1), claim)
        if after.tokens == state.tokens:
            return
        yield Step("claim", detail, after)
        if state.lost:
            yield Step("claim again", detail, after._replace(lost=state.lost - 1, stalled=(*after.stalled, claim)))

    def _arrivals(self, state: State) -> Iterator[Step]:
        """A claim request that was given up arrives after all; what it is granted is released by the renewals."""
        for claim in state.stalled:
            after = self._granted(state._replace(stalled=()), claim, arrives_late=True)
            yield Step("claim arrives", claim.lease_uid, after)

    def _granted(self, state: State, claim: Claim, *, arrives_late: bool = False) -> State:
        held = self.core.held(claim, state.rows)
        if held:
            return state
        picks = self.core.chosen(claim, state.rows, state.now)
        check_call(claim, picks, state.rows)
        call, ledger, tokens = state.fresh, dict(state.ledger), list(state.tokens)
        changed: dict[str, Task] = {}
        for number, before in enumerate(picks, call + 1):
            after = self.core.granted(before, claim, Moment(state.now, number))
            entry = ledger[before.id]
            check_grant(before, after, entry=entry, now=state.now)
            ledger[before.id] = entry = entry._replace(
                holder=number, in_cleanup=entry.cancelled, grants=entry.grants + 1, version=entry.version + 1
            )
            report = "release" if arrives_late else None
            tokens.append(Token(after, number, call, entry.version, report))
            changed[before.id] = after
        took_key = any(task.resource_key is not None for task in picks)
        after_claim = self.settled_down(
            state._replace(
                rows=tuple(changed.get(task.id, task) for task in state.rows),
                ledger=ledger,
                tokens=tuple(tokens),
                key_call=call if took_key else state.key_call,
                doubled=state.doubled | {claim.lease_uid} if arrives_late else state.doubled,
                fresh=state.fresh + len(picks) + 1,
            )
        )
        self._check_repeatable(claim, changed, after_claim)
        return after_claim

    def _check_repeatable(self, claim: Claim, taken: dict[str, Task], after: State) -> None:
        again = {task.id for task in self.core.held(claim, after.rows)}
        require(again == taken.keys(), Rule.LOST_REPLY, f"a repeated claim returns {again} instead of {taken.keys()}")

    # What holders do

    def _settlements(self, state: State, token: Token) -> Iterator[Step]:
        for report in self.scenario.reports if token.report is None else (token.report,):
            yield from self._settle(state, token._replace(report=report), given_up=token)

    def _settle(self, state: State, token: Token, *, given_up: Token) -> Iterator[Step]:
        assert token.report is not None
        transition = self.core.concluded(token.known, REPORTS[token.report], self.scenario.rules)
        row, entry = state.row(token.known.id), state.ledger[token.known.id]
        verdict = self.core.judge(transition.guard, row, state.now)
        check_verdict(verdict, token, row=row, entry=entry, is_doubled=token.known.lease_uid in state.doubled)
        others = tuple(other for other in state.tokens if other is not given_up)
        detail = f"of {token.known.id} by {token.known.lease_uid}"
        if verdict is not Verdict.APPLIED or row is None:
            yield Step(
                f"{token.report}, {verdict}", detail, self._informed(state, token, given_up=given_up, verdict=verdict)
            )
            return
        after = self._ended(state, row, transition, event=token.report)
        if row.resource_key is not None:
            require(state.key_call == token.call, Rule.ONE_KEY, f"{row.id} ended after somebody else took its key")
        self._check_result(row, after, token.report)
        yield Step(token.report, detail, after._replace(tokens=others))
        if state.lost:
            doubtful = token._replace(accepted=True)
            yield Step(
                f"{token.report}, no reply", detail, after._replace(tokens=(*others, doubtful), lost=state.lost - 1)
            )

    def _informed(self, state: State, token: Token, *, given_up: Token, verdict: Verdict) -> State:
        """Return the state after a refusal. A worker that is told to stop is left as it is: it might not listen."""
        row = state.row(token.known.id)
        if verdict is not Verdict.CHANGED or row is None:
            return state
        again = token._replace(known=row, version=state.ledger[row.id].version)
        return state._replace(tokens=tuple(again if other is given_up else other for other in state.tokens))

    def _check_result(self, before: Task, after: State, report: str) -> None:
        row = after.row(before.id)
        if report == "succeed" and row is not None:
            require(row.result == '"value"', Rule.CANCELLED, f"the result of {row.id} was not kept")

    def _ended(self, state: State, row: Task, transition: Transition, *, event: str) -> State:
        """Apply what ends a lease."""
        entry = state.ledger[row.id]
        after = self.core.applied(row, transition, state.now)
        check_ended(row, after, entry=entry, rules=self.scenario.rules)
        check_counted(row, after, event=event, entry=entry)
        return self._with(state, after, entry._replace(holder=None, version=entry.version + 1))

    def _with(self, state: State, row: Task, entry: Entry) -> State:
        rows = tuple(row if task.id == row.id else task for task in state.rows)
        return self.settled_down(state._replace(rows=rows, ledger={**state.ledger, row.id: entry}))

    def _expiries(self, state: State, task: Task) -> Iterator[Step]:
        transition = self.core.expired(task, self.scenario.rules, state.now)
        verdict = self.core.judge(transition.guard, task, state.now)
        over = task.leased_until is not None and task.leased_until <= state.now
        if not over:
            require(verdict is not Verdict.APPLIED, Rule.ONE_LEASE, f"the lease of {task.id} goes on")
            return
        require(verdict is Verdict.APPLIED, Rule.LEASE_ENDED, f"{task.id} cannot be expired: {verdict}")
        yield Step("expire", task.id, self._ended(state, task, transition, event="expire"))

    def _renewals(self, state: State) -> Iterator[Step]:
        until = state.now + SECOND
        for uid in sorted({token.known.lease_uid or "" for token in state.tokens}):
            behind = [task for task in state.rows if task.lease_uid == uid and task.leased_until != until]
            if behind:
                rows = tuple(self.core.renewed(task, until) if task in behind else task for task in state.rows)
                after = self.settled_down(state._replace(rows=rows))
                require(self._decisions_hold(state, after), Rule.HOLDER_HEARD, "a renewal made a decision stale")
                yield Step("renew", uid, after)

    def _decisions_hold(self, before: State, after: State) -> bool:
        return [task.revision for task in before.rows] == [task.revision for task in after.rows]
