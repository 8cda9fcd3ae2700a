"""What administrators do: at once, or on a record that they read some time ago."""

from collections.abc import Iterator

from oncetask_core.decisions import deletion, reschedule
from oncetask_core.errors import IllegalTransitionError
from oncetask_core.status import Outcome
from oncetask_core.task import StoreNow
from oncetask_core.transition import Guard, Transition, Verdict
from tests.spec.checks import Rule, require
from tests.spec.rules import Moment, Task
from tests.spec.state import SECOND, Entry, Reading, State
from tests.spec.world import Step, World


class ControlledWorld(World):
    """A world with administrators in it."""

    def steps(self, state: State) -> Iterator[Step]:
        """Yield everything that may happen next."""
        yield from super().steps(state)
        if not state.controls:
            return
        paid = state._replace(controls=state.controls - 1)
        for task_id in state.ledger:
            row = state.row(task_id)
            if row is None:
                yield from self._creations(paid, task_id)
            else:
                yield from self._controls(paid, Reading(row, state.ledger[task_id].version))
        yield from self._creations_of_existing(paid)
        yield from self._readings(state, paid)

    def _readings(self, state: State, paid: State) -> Iterator[Step]:
        """Somebody reads the first task, and decides on what was read when much may have happened since."""
        first = state.rows[0] if state.rows else None
        if state.reading is None and first is not None:
            reading = Reading(first, state.ledger[first.id].version)
            yield Step("read", first.id, state._replace(reading=reading))
        elif state.reading is not None:
            yield from self._controls(paid._replace(reading=None), state.reading)

    def _creations(self, state: State, task_id: str) -> Iterator[Step]:
        if "create" not in self.scenario.operations:
            return
        new = self.scenario.new(task_id, state.fresh)
        row = self.core.inserted(new, None, Moment(state.now, state.fresh))
        rows = tuple(sorted((*state.rows, row), key=lambda task: task.id))
        entry = state.ledger[task_id]
        ledger = {**state.ledger, task_id: Entry(run=entry.run + 1, version=entry.version + 1)}
        created = state._replace(rows=rows, ledger=ledger, fresh=state.fresh + 1)
        yield Step("create", task_id, self.settled_down(created))

    def _creations_of_existing(self, state: State) -> Iterator[Step]:
        """Creating what exists is checked, and leads nowhere new."""
        for row in state.rows:
            again = self.core.inserted(self.scenario.new(row.id, state.fresh), row, Moment(state.now, state.fresh))
            require(again == row, Rule.EXISTING, f"{row.id} was touched by an insert")
        yield from ()

    def _controls(self, state: State, reading: Reading) -> Iterator[Step]:
        for operation in self.scenario.operations:
            if operation == "delete":
                yield from self._delete(state, reading)
            elif operation != "create":
                transition = self._decided(operation, reading.known, state)
                if transition is not None:
                    yield from self._write(state, reading, transition)

    def _decided(self, operation: str, task: Task, state: State) -> Transition | None:
        if operation == "cancel":
            return self.core.cancelled(task, self.scenario.rules)
        if operation == "reset":
            return None if task.is_live else self.core.restarted(task, f"run {state.fresh}")
        try:
            return reschedule(task, StoreNow(SECOND))
        except IllegalTransitionError:
            return None

    def _judged(self, state: State, reading: Reading, guard: Guard) -> Task | None:
        """Return the row if the decision may be written over it, checked against the ledger."""
        row, entry = state.row(reading.known.id), state.ledger[reading.known.id]
        verdict = self.core.judge(guard, row, state.now)
        current = row is not None and entry.version == reading.version
        expected = Verdict.APPLIED if current else Verdict.CHANGED if row is not None else Verdict.MISSING
        require(verdict is expected, Rule.NEWEST, f"{verdict} over {row and row.id}, expected {expected}")
        return row if verdict is Verdict.APPLIED else None

    def _delete(self, state: State, reading: Reading) -> Iterator[Step]:
        row = self._judged(state, reading, deletion(reading.known))
        if row is None:
            return
        entry = state.ledger[row.id]
        ledger = {**state.ledger, row.id: Entry(run=entry.run + 1, version=entry.version + 1)}
        rows = tuple(task for task in state.rows if task.id != row.id)
        yield Step("delete", row.id, self.settled_down(state._replace(rows=rows, ledger=ledger)))

    def _write(self, state: State, reading: Reading, transition: Transition) -> Iterator[Step]:
        row = self._judged(state, reading, transition.guard)
        if row is None:
            return
        after, entry = self.core.applied(row, transition, state.now), state.ledger[row.id]
        require(after.revision > row.revision, Rule.NEWEST, f"{row.id} was changed without a new revision")
        if transition.event == "reset":
            entry = Entry(run=entry.run + 1, version=entry.version)
            require(after.run_uid != row.run_uid, Rule.NO_ABA, f"{row.id} has a new run under an old name")
        else:
            self._check_control(row, after, transition.event)
            entry = entry._replace(cancelled=after.is_cancelled)
        changed = state._replace(fresh=state.fresh + 1)
        yield Step(transition.event, row.id, self._with(changed, after, entry._replace(version=entry.version + 1)))

    def _check_control(self, before: Task, after: Task, event: str) -> None:
        require(before.outcome is None, Rule.ENDS_ONCE, before.id)
        if event == "cancel":
            require(after.is_cancelled, Rule.CANCELLED, f"{before.id} does not know that it was cancelled")
            require(before.lease_uid == after.lease_uid, Rule.HOLDER_HEARD, f"a cancel took {before.id} away")
            if after.outcome is not None:
                at_once = after.outcome is Outcome.CANCELLED and not self.scenario.has_cleanup
                require(at_once, Rule.CANCELLED, f"{before.id} ended without clean-up")
