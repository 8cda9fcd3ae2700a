"""What one script of the model machine has seen so far, so that holders and onlookers can act on it late."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant
from msgspec.structs import replace

from oncetask_conformance.deeds import MINUTE, Deed, Reset, Row, Settle, Tick, verdict_of
from oncetask_conformance.moves import Move, Seen, move
from oncetask_conformance.player import Bench, Player
from oncetask_conformance.scripts import ALL, SLOT, Ending, Wish
from oncetask_conformance.tally import Tally
from oncetask_core.claims import Claim
from oncetask_core.task import NewTask
from oncetask_core.transition import Verdict

T = TypeVar("T")
RECENT = 16
"""How many of the latest grants, looks and settles are remembered."""
_GRANT = ("run_uid", "lease_uid", "epoch", "revision")


class Script(RuleBasedStateMachine):
    """A script without rules: the store and the model, and what was seen of them.

    Args:
        bench: Where stores come from.
        tally: What happened in all scripts of the run.
    """

    def __init__(self, bench: Bench, tally: Tally) -> None:
        super().__init__()
        self.player = Player(bench)
        self.tally = tally
        tally.examples += 1
        self.calls: list[Sequence[NewTask]] = []
        self.claims: list[Claim] = []
        self.grants: list[Seen] = []
        self.looks: list[Seen] = []
        self.settled: list[Move] = []
        self._uids = 0

    def teardown(self) -> None:
        """Close the store."""
        self.player.close()

    @invariant()
    def what_is_stored_is_what_the_model_has(self) -> None:
        """Compare everything."""
        self.player.check()

    @property
    def tasks(self) -> Mapping[str, Row]:
        """The tasks that there are, as the model has them."""
        return self.player.model.rows

    def ids(self, meant: Callable[[Row], bool] = lambda _: True) -> list[str]:
        """Return the ids of the tasks that are meant."""
        return [task_id for task_id, row in self.tasks.items() if meant(row)]

    def uid(self, what: str) -> str:
        """Return an identity that was never used in this script."""
        self._uids += 1
        return f"{what} {self._uids}"

    def new_tasks(self, wishes: Iterable[Wish]) -> list[NewTask]:
        """Return the wishes as the tasks of one create call."""
        creator, now = self.uid("creator"), self.player.now
        return [wish.new(self.uid("run"), creator, now=now) for wish in wishes]

    def renewed(self, call: Iterable[NewTask]) -> list[NewTask]:
        """Return a create call as its caller repeats it; what was deleted meanwhile is another run."""
        return [new if new.id in self.tasks else replace(new, run_uid=self.uid("run")) for new in call]

    def wait_for(self, times: Iterable[datetime | None]) -> None:
        """Let time pass until the first of the times that are still to come."""
        now = self.player.now
        coming = [time - now for time in times if time is not None and time > now]
        self.player.clock.advance(min(coming, default=timedelta(0)))

    def wait_for_due(self) -> None:
        """Let time pass until the next task or generator becomes due."""
        self.wait_for(row["wait_until"] for row in self.tasks.values() if row["outcome"] is None)

    def insert_all(self, name: str, news: Sequence[NewTask]) -> None:
        """Insert the tasks, and remember the call."""
        self.calls = _recent(self.calls, news)
        answers = self.player.insert(news)
        self.tally.add(name, ("created" if answer.created else "existed" for answer in answers))

    def take(self, name: str, claim: Claim) -> None:
        """Claim, and remember the call and what was granted."""
        if claim not in self.claims:
            self.claims = _recent(self.claims, claim)
        granted, repeated = self.player.claim(claim)
        self.grants = [*self.grants, *granted][-RECENT:]
        self.tally.add(name, [("nothing", "held already", "granted")[bool(granted) * (2 - repeated)]])
        for seen in granted:
            self.tally.add_fact("claimed for clean-up", holds=seen.row["in_cleanup"])
            self.tally.add_fact("claimed a suspect", holds=seen.row["crashes"] > 0)
            follows = seen.row["resource_key"] is not None and seen.row["head_key"] is None
            self.tally.add_fact("claimed a follower", holds=follows)

    def look(self, pick: int, meant: Callable[[Row], bool] = lambda _: True) -> Seen:
        """Return a task as it is now, if possible one that is meant, and remember it."""
        task_id = one_of(self.ids(meant) or list(self.tasks), pick)
        seen = self.player.get([task_id])[task_id]
        self.looks = _recent(self.looks, seen)
        return seen

    def stale_grants(self) -> list[Seen]:
        """Return grants that are over, or that somebody else's decision has overtaken."""
        return [grant for grant in self.grants if not self._is_current(grant.row)]

    def _is_current(self, seen: Row) -> bool:
        row = self.tasks.get(seen["id"])
        return row is not None and all(row[name] == seen[name] for name in _GRANT)  # type: ignore[literal-required]  # names of Row

    def play(self, name: str, moves: Sequence[Move | None]) -> None:
        """Apply a batch of what is allowed of it, and remember what was settled."""
        allowed = [one for one in moves if one is not None]
        for deed in (deed for one in allowed for deed in one.act.deeds):
            self._count_settle(deed)
        verdicts = self.player.apply(allowed)
        for one, verdict in zip(allowed, verdicts, strict=True):
            if verdict is Verdict.APPLIED and len(one.act.deeds) == 1 and isinstance(one.act.deeds[0], Settle):
                self.settled = _recent(self.settled, one)
        self.tally.add(name, verdicts or ["not allowed"])
        for row in self.tasks.values():
            if row["outcome"] is not None and row["done_at"] == self.player.now:
                self.tally.add_fact(f"ended {row['outcome']}")

    def _count_settle(self, deed: Deed) -> None:
        """Note how its holder knew the task: a repeat of an earlier settle is not what a stale holder does."""
        if isinstance(deed, Settle):
            verdict = verdict_of(deed, self.tasks.get(deed.seen["id"]), self.player.now)
            repeats = any(deed == one.act.deeds[0] for one in self.settled)
            self.tally.settles["repeated" if repeats else "current" if verdict is Verdict.APPLIED else "stale"] += 1

    def take_all(self, name: str, lease_for: timedelta) -> None:
        """Wait until something is due, and claim all that is; a suspect now and then, for it is claimed alone."""
        if not self.ids(self.is_due):
            self.wait_for_due()
        due = [self.tasks[task_id] for task_id in self.ids(self.is_due)]
        suspects = [row for row in due if row["crashes"] > 0]
        uid = self.uid("lease")
        alone = len(suspects) == len(due) > 0 or (len(suspects) > 0 and self._uids % 2 == 0)
        claim = Claim(lease_uid=uid, leased_by="worker 2", lease_for=lease_for, slots=ALL, suspects=alone)
        self.take(name, claim)

    def is_due(self, row: Row) -> bool:
        """Return whether somebody may claim the task now, as far as its key permits."""
        return is_live(row) and not is_held(row) and row["wait_until"] <= self.player.now and not row["recurrence"]

    def holder(self, pick: int) -> Seen:
        """Return a task that is held, as it is now; claim where nothing is, and return any if there is nothing due."""
        if not self.ids(is_held) and self.ids(lambda row: is_live(row) and not row["recurrence"]):
            self.take_all("claim on demand", MINUTE)
        return self.look(pick, is_held)

    def settle_of(self, seen: Seen, ending: Ending) -> Move | None:
        """Return how a holder ends its lease."""
        return move(seen, ending.settle(seen.row, at=self.player.now))

    def reset_of(self, seen: Seen) -> Move | None:
        """Return a new run of a task; a generator goes on at its next slot."""
        slot = (_next_slot(seen.row, self.player.now), 7) if seen.row["recurrence"] is not None else None
        return move(seen, Reset(seen=seen.row, run_uid=self.uid("run"), slot=slot))

    def tick_of(self, seen: Seen, fired: int, *, is_last: bool) -> Move | None:
        """Return a tick that creates so many occurrences."""
        start = seen.row["wait_until"]
        after = max(_next_slot(seen.row, self.player.now), start + max(fired, 1) * SLOT)
        tick = Tick(
            seen=seen.row,
            fires=[start + n * SLOT for n in range(fired)],
            slot=None if is_last else (after, seen.row["slots_used"] + fired),
            created_by=self.uid("creator"),
            run_uids=[self.uid("run") for _ in range(fired)],
        )
        return move(seen, tick)


def one_of(values: Sequence[T], pick: int) -> T:
    """Return one of the values, which are not none."""
    return values[pick % len(values)]


def _recent(values: Sequence[T], latest: T) -> list[T]:
    return [*values, latest][-RECENT:]


def is_held(row: Row) -> bool:
    """Return whether a lease holds the task."""
    return row["lease_uid"] is not None


def is_live(row: Row) -> bool:
    """Return whether the task is not finished."""
    return row["outcome"] is None


def is_finished(row: Row) -> bool:
    """Return whether the task is finished."""
    return row["outcome"] is not None


def is_free(row: Row) -> bool:
    """Return whether nobody holds the task, or has finished or cancelled it."""
    return is_live(row) and not is_held(row) and not row["is_cancelled"]


def is_ticking(row: Row) -> bool:
    """Return whether the task is a generator that goes on."""
    return row["recurrence"] is not None and is_live(row)


def _next_slot(row: Row, now: datetime) -> datetime:
    slot = row["wait_until"]
    while slot <= now:
        slot += SLOT
    return slot
