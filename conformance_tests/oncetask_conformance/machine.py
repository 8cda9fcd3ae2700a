"""A store against the model: Hypothesis plays random scripts on both and compares every reply and all that is stored.

    from oncetask_conformance.machine import check_against_model

    def test_the_store_does_what_the_model_does() -> None:
        print(check_against_model(MyHarness(), examples=500))

It needs Hypothesis, and a store that takes an injected clock. The scripts insert, claim, settle, renew, expire,
cancel, reset and delete, late and twice as well; the decisions are those of the core, so the machine tries them
as much as the store. Each example runs in an environment of its own.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from oncetask_conformance.deeds import BreakOff, Cancel, Expire, Progress, Reschedule
from oncetask_conformance.harness import Harness
from oncetask_conformance.moves import Move, move, together
from oncetask_conformance.player import Bench
from oncetask_conformance.script import RECENT, Script, is_finished, is_free, is_live, is_ticking, one_of
from oncetask_conformance.scripts import (
    BATCHES,
    CONDITIONS,
    ENDINGS,
    GENERATORS,
    IDS,
    LEASES_FOR,
    PICKS,
    RENEWALS,
    SLOT,
    SLOTS,
    STEPS,
    WAITS,
    WISHES,
    Asked,
    Ending,
    Part,
    Wish,
    where,
)
from oncetask_conformance.tally import Tally
from oncetask_core.claims import Claim, Slots
from oncetask_core.query import TaskFilter, TaskOrder
from oncetask_core.task import StoreNow

_NAMES = st.sampled_from(("pause/parcel", "pause/letter", "kind/parcel"))
_VALUES = st.sampled_from(("true", '{"a": 1}', None))
_SELDOM = st.sampled_from((False, False, False, True))
_PREFIXES = st.sampled_from(("", "pause/", "kind/parcel", "nothing"))
_UNKNOWN = "a lease that nobody has"


def check_against_model(
    harness: Harness,
    *,
    examples: int,
    steps: int = 50,
    stores_per_space: int = 1,
    randomness: int | None = None,
    shrink: bool = True,
) -> Tally:
    """Play random scripts on the store and the model; return what happened, counted.

    Args:
        harness: The binding.
        examples: How many scripts.
        steps: How long each is.
        stores_per_space: How many scripts share a space, in environments of their own; for spaces that cost time.
        randomness: The seed; by default another one each time.
        shrink: Whether to look for a shorter script when one fails.

    Raises:
        AssertionError: They differ; says in what, and how to play the same scripts again.
    """
    randomness = random.SystemRandom().getrandbits(32) if randomness is None else randomness
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    tally = Tally(name for name in vars(StoreMachine) if not name.startswith("_"))
    with Bench(harness, stores_per_space=stores_per_space) as bench:

        @seed(randomness)
        class Bound(StoreMachine):
            def __init__(self) -> None:
                super().__init__(bench, tally)

        try:
            run_state_machine_as_test(Bound, settings=profile)
        except Exception as error:
            error.add_note(f"found in example {tally.examples}; randomness={randomness} plays the same scripts again")
            raise
    return tally


class StoreMachine(Script):
    """What may happen in a script."""

    @initialize(wishes=st.lists(WISHES, min_size=2, max_size=6))
    def begin(self, *, wishes: Sequence[Wish]) -> None:
        """Begin with a few tasks."""
        self.insert_all("begin", self.new_tasks(wishes))

    @rule(wish=WISHES)
    def insert(self, *, wish: Wish) -> None:
        """Create a task, or meet one that has the id."""
        self.insert_all("insert", self.new_tasks([wish]))

    @rule(wishes=st.lists(WISHES, min_size=2, max_size=4))
    def insert_several(self, *, wishes: Sequence[Wish]) -> None:
        """Create several tasks by one call, of which some may have the same id."""
        self.insert_all("insert several", self.new_tasks(wishes))

    @precondition(lambda self: self.calls)
    @rule(pick=PICKS)
    def insert_again(self, *, pick: int) -> None:
        """Repeat a create call whose reply was lost; a task that was deleted since gets a run of its own."""
        self.insert_all("insert again", self.renewed(one_of(self.calls, pick)))

    @rule(slots=SLOTS, lease_for=LEASES_FOR, suspects=_SELDOM)
    def claim(self, *, slots: dict[str, Slots], lease_for: timedelta, suspects: bool) -> None:
        """Claim under a new lease."""
        uid = self.uid("lease")
        claim = Claim(lease_uid=uid, leased_by="worker 1", lease_for=lease_for, slots=slots, suspects=suspects)
        self.take("claim", claim)

    @rule(lease_for=LEASES_FOR)
    def claim_all(self, *, lease_for: timedelta) -> None:
        """Wait until something is due, and claim all that is, whole groups at once."""
        self.take_all("claim all", lease_for)

    @precondition(lambda self: self.claims)
    @rule(pick=PICKS, ending=ENDINGS)
    def claim_again(self, *, pick: int, ending: Ending) -> None:
        """Repeat a claim whose reply was lost, or that arrives late: then its lease may be granted a second time."""
        if pick % 2 and not self.ids(self.is_due):
            self.wait_for_due()
        claim = one_of(self.claims, pick)
        self.take("claim again", claim)
        earlier = [grant for grant in self.stale_grants() if grant.row["lease_uid"] == claim.lease_uid]
        if earlier:
            self.play("settle late", [self.settle_of(one_of(earlier, pick), ending)])

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS, ending=ENDINGS)
    def settle(self, *, pick: int, ending: Ending) -> None:
        """End a lease as its holder who knows the newest record; now and then just after a late one has tried."""
        holder, late = self.holder(pick), self.stale_grants()
        if late and pick % 3 == 0:
            self.play("settle late", [self.settle_of(one_of(late, pick), ending)])
        self.play("settle", [self.settle_of(holder, ending)])

    @precondition(lambda self: self.stale_grants())
    @rule(pick=PICKS, ending=ENDINGS)
    def settle_late(self, *, pick: int, ending: Ending) -> None:
        """End a lease as a holder that was superseded or overtaken."""
        self.play("settle late", [self.settle_of(one_of(self.stale_grants(), pick), ending)])

    @precondition(lambda self: self.settled)
    @rule(pick=PICKS)
    def settle_again(self, *, pick: int) -> None:
        """Repeat a settle whose reply was lost."""
        self.play("settle again", [one_of(self.settled, pick)])

    @precondition(lambda self: self.tasks)
    @rule(parts=BATCHES)
    def batch(self, *, parts: Sequence[Part]) -> None:
        """Apply several atoms by one call: current, stale, repeated, and of the same task."""
        moves: list[Move] = []
        for part in parts:
            one = self._part_of_batch(part)
            moves += [] if one is None else [one, one] if part.how == "twice" else [one]
        self.play("batch", moves)

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS, other=PICKS, wish=WISHES, ending=ENDINGS)
    def atom(self, *, pick: int, other: int, wish: Wish, ending: Ending) -> None:
        """Apply one atom with transitions of two tasks and an insert."""
        first, second = self.holder(pick), self.look(other, is_free)
        moves = [self.settle_of(first, ending), move(second, Cancel(seen=second.row, has_cleanup=other % 2 == 0))]
        inserts = self.new_tasks([wish])
        self.play("atom", [together([one for one in moves if one is not None], inserts)])

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS, twice=st.booleans(), ending=ENDINGS)
    def atom_of_one_task(self, *, pick: int, twice: bool, ending: Ending) -> None:
        """Apply one atom with two transitions of the same task; by the same record, two decisions are one too many."""
        seen = self.holder(pick)
        progress = move(seen, Progress(seen=seen.row, text=f'"{pick}"'))
        cancel = move(seen, Cancel(seen=seen.row, has_cleanup=True))
        moves = [progress, cancel, cancel] if twice else [progress, self.settle_of(seen, ending)]
        self.play("atom of one task", [together([one for one in moves if one is not None])])

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS)
    def progress(self, *, pick: int) -> None:
        """Report progress as the holder."""
        seen = self.holder(pick)
        self.play("progress", [move(seen, Progress(seen=seen.row, text=f'{{"done":{pick}}}'))])

    @precondition(lambda self: self.stale_grants())
    @rule(pick=PICKS)
    def progress_late(self, *, pick: int) -> None:
        """Report progress as a holder that was superseded or overtaken."""
        seen = one_of(self.stale_grants(), pick)
        self.play("progress late", [move(seen, Progress(seen=seen.row, text=f'{{"late":{pick}}}'))])

    @precondition(lambda self: self.claims)
    @rule(picks=st.lists(PICKS, min_size=1, max_size=3), duration=RENEWALS, everything=_SELDOM)
    def renew(self, *, picks: Sequence[int], duration: timedelta | None, everything: bool) -> None:
        """Extend some leases or all, beside one that nobody knows, or only ask about them."""
        named = self.claims if everything else [one_of(self.claims, pick) for pick in picks]
        leases = {claim.lease_uid: duration for claim in named} | {_UNKNOWN: duration}
        leases[named[0].lease_uid] = None if picks[0] % 4 == 0 else duration
        held = self.player.renew(leases)
        self.tally.add("renew", ["held" if held else "lost"])

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS, twice=_SELDOM)
    def expire_all(self, *, pick: int, twice: bool) -> None:
        """Expire every lease that ran out; mostly, the first that is held has just done so."""
        if pick % 4 != 0:
            self.holder(pick)
            self.wait_for(row["leased_until"] for row in self.tasks.values())
        run_out = self.player.find(TaskFilter(run_out=True))
        moves = [move(seen, Expire(seen=seen.row, at=self.player.now)) for seen in run_out]
        self.play("expire all", [*moves, *moves] if twice else moves)

    @precondition(lambda self: self.grants)
    @rule(pick=PICKS)
    def expire_blindly(self, *, pick: int) -> None:
        """Expire a lease as it was granted: it may be running, renewed, settled, or have run out."""
        seen = one_of(self.grants, pick)
        self.play("expire blindly", [move(seen, Expire(seen=seen.row, at=self.player.now))])

    @rule(step=STEPS)
    def pass_time(self, *, step: timedelta | None) -> None:
        """Let some time pass, or all until something is due, to the microsecond."""
        if step is None:
            self.wait_for_due()
        else:
            self.player.clock.advance(step)
        self.tally.add("pass time", [])

    @precondition(lambda self: self.ids(is_live))
    @rule(pick=PICKS, has_cleanup=st.booleans())
    def cancel(self, *, pick: int, has_cleanup: bool) -> None:
        """Cancel a task."""
        seen = self.look(pick, is_live)
        self.play("cancel", [move(seen, Cancel(seen=seen.row, has_cleanup=has_cleanup))])

    @precondition(lambda self: self.ids(is_finished))
    @rule(pick=PICKS)
    def reset(self, *, pick: int) -> None:
        """Start a finished task anew."""
        self.play("reset", [self.reset_of(self.look(pick, is_finished))])

    @precondition(lambda self: self.ids(is_free))
    @rule(pick=PICKS, wait=WAITS)
    def reschedule(self, *, pick: int, wait: timedelta | StoreNow) -> None:
        """Move a task to another time."""
        seen = self.look(pick, is_free)
        when = wait if isinstance(wait, StoreNow) else self.player.now + wait
        self.play("reschedule", [move(seen, Reschedule(seen=seen.row, when=when))])

    @precondition(lambda self: self.looks)
    @rule(pick=PICKS)
    def decide_late(self, *, pick: int) -> None:
        """Cancel, reset or move a task by a record that was read some time ago."""
        seen = one_of(self.looks, pick)
        deeds = [
            move(seen, Cancel(seen=seen.row, has_cleanup=True)),
            self.reset_of(seen),
            move(seen, Reschedule(seen=seen.row, when=StoreNow(SLOT))),
        ]
        self.play("decide late", [one_of(deeds, pick // 16)])

    @precondition(lambda self: self.tasks)
    @rule(pick=PICKS, twice=_SELDOM)
    def delete(self, *, pick: int, twice: bool) -> None:
        """Delete a task as it is now."""
        seen = self.look(pick)
        self.tally.add("delete", self.player.delete([seen, seen] if twice else [seen]))

    @precondition(lambda self: self.looks)
    @rule(picks=st.lists(PICKS, min_size=1, max_size=3))
    def delete_late(self, *, picks: Sequence[int]) -> None:
        """Delete tasks by records that were read some time ago."""
        self.tally.add("delete late", self.player.delete([one_of(self.looks, pick) for pick in picks]))

    @rule(pick=PICKS, fired=st.integers(0, 3), how=st.sampled_from(("on", "to its end", "nowhere")), wish=GENERATORS)
    def tick(self, *, pick: int, fired: int, how: str, wish: Wish) -> None:
        """Move a generator on, perhaps by two workers at once, or end one whose rule cannot be evaluated."""
        if not self.ids(is_ticking):
            self.insert_all("insert a generator", self.new_tasks([replace(wish, id=self.uid("generator"))]))
        seen = self.look(pick, is_ticking)
        if how == "nowhere":
            moves = [move(seen, BreakOff(seen=seen.row, text="no such zone", at=self.player.now))]
        else:
            moves = [self.tick_of(seen, fired, is_last=how == "to its end") for _ in range(1 + pick % 2)]
        self.play("tick", moves)
        self.tally.add_fact(f"moved a generator {how}")

    @rule(conditions=CONDITIONS, newest=st.booleans(), limit=st.sampled_from((1, 2, 3, 100)))
    def find_and_count(self, *, conditions: Sequence[Asked], newest: bool, limit: int) -> None:
        """List what matches, to the last page, and count it; count what matches each condition alone, too."""
        asked = where(conditions, now=self.player.now)
        found = self.player.find(asked, TaskOrder.NEWEST if newest else TaskOrder.OLDEST, limit=limit)
        count = self.player.count(asked)
        for one in conditions:
            self.player.count(where([one], now=self.player.now))
        self.tally.add("find and count", [("nothing", "one page", "pages")[bool(count) + (len(found) > limit)]])

    @rule(ids=st.frozensets(st.sampled_from((*IDS, "unknown")), max_size=4))
    def get(self, *, ids: frozenset[str]) -> None:
        """Read tasks by their ids, unknown ones among them, and remember them."""
        found = self.player.get(ids)
        self.looks = [*found.values(), *self.looks][:RECENT]
        self.tally.add("get", ["found" if found else "unknown"])

    @rule(name=_NAMES, value=_VALUES, condition=st.integers(0, 4), prefix=_PREFIXES)
    def control(self, *, name: str, value: str | None, condition: int, prefix: str) -> None:
        """Write or remove a control record, blindly or over some revision, and read those with a prefix."""
        known = self.player.revisions.get(name, [])
        current = self.player.model.control.get(name, ("", 0))[1]
        expected = (None, current, 0, min(known, default=1), current + 1)[condition]
        done = self.player.write_control(name, value, if_revision=expected)
        read = self.player.read_control(prefix)
        self.tally.add("control", ["done" if done else "refused", "read" if read else "nothing to read"])

    def _part_of_batch(self, part: Part) -> Move | None:
        """Return one atom of a batch, or None where there is nothing to do."""
        inserts = self.new_tasks([part.wish]) if part.how == "with an insert" or part.what == "insert" else []
        acted = None if part.what == "insert" else self._act_of_batch(part) or self._decision(part.pick)
        moves = [] if acted is None else [acted]
        return together(moves, inserts) if moves or inserts else None

    def _act_of_batch(self, part: Part) -> Move | None:
        pick, stale = part.pick, self.stale_grants()
        if part.what == "settle":
            return self.settle_of(self.holder(pick), part.ending)
        if part.what == "settle late" and stale:
            return self.settle_of(one_of(stale, pick), part.ending)
        if part.what == "settle again" and self.settled:
            return one_of(self.settled, pick)
        seen = self.holder(pick)
        if part.what == "progress":
            return move(seen, Progress(seen=seen.row, text=f'"{pick}"'))
        return move(seen, Expire(seen=seen.row, at=self.player.now)) if part.what == "expire" else None

    def _decision(self, pick: int) -> Move | None:
        """Return what anybody may decide about a task: a cancel, or a reset where it is finished."""
        seen = self.look(pick)
        return move(seen, Cancel(seen=seen.row, has_cleanup=pick % 2 == 0)) or self.reset_of(seen)
