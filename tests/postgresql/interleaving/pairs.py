"""Any two things that can happen to a key, at the same time: every pair of actions is a scene."""

import itertools
from collections.abc import Callable, Mapping
from typing import Final

from oncetask_core.decisions import Snoozed, cancel, conclude, deletion, reschedule, reset
from oncetask_core.transition import Transition
from oncetask_sql.codec import Task
from tests.postgresql.interleaving.exploring import Scene, Script
from tests.postgresql.interleaving.scenes import (
    EARLY,
    LATE,
    claims,
    creates,
    creates_in_own,
    having,
    keyed,
    locks,
    reports,
)
from tests.postgresql.interleaving.stage import Hand
from tests.sql.world import DONE, HOUR, RULES, new_task

VERY_EARLY: Final = EARLY - HOUR
VERY_LATE: Final = LATE + HOUR


async def _held(hand: Hand) -> None:
    """E has ended; a and b are held as a group, whose lease has run out; c and d wait."""
    await _one_has_ended(hand)
    await having("a", "b", "c", "d", held=2, run_out=True)(hand)


async def _free(hand: Hand) -> None:
    """E has ended; b, c and d wait, and a, which comes first, is noted only."""
    await _one_has_ended(hand)
    await having("b", "c", "d")(hand)
    await hand.create_in_own(new_task("a", key="k", wait_until=EARLY))


async def _one_has_ended(hand: Hand) -> None:
    await having("e", held=1)(hand)
    await hand.stage.look()
    await hand.report(hand.stage.tasks["e"])


def _decides(name: str, decide: Callable[[Task], Transition | None]) -> Script:
    async def script(hand: Hand) -> None:
        await hand.apply(decide(hand.stage.start[name]))

    return script


def _cancels(name: str) -> Script:
    return _decides(name, lambda task: cancel(task, has_cleanup=False))


def _deletes(name: str) -> Script:
    async def script(hand: Hand) -> None:
        await hand.delete(deletion(hand.stage.start[name]))

    return script


def _expires(*names: str) -> Script:
    async def script(hand: Hand) -> None:
        await hand.expire(*names)

    return script


async def _reports_both(hand: Hand) -> None:
    await hand.apply(*(conclude(hand.stage.start[name], DONE, RULES, chance=0.0) for name in ("a", "b")))


async def _follows_up(hand: Hand) -> None:
    done = conclude(hand.stage.start["a"], DONE, RULES, chance=0.0)
    await hand.apply(done, inserts=[new_task("f", key="k", wait_until=EARLY)])


async def _polls(hand: Hand) -> None:
    await hand.poll()


async def _reports_in_own(hand: Hand) -> None:
    await hand.report_in_own("b")


_ALWAYS: Final[Mapping[str, Script]] = {
    "create": creates(new_task("x", key="k", wait_until=EARLY)),
    "create again": creates(*keyed("e")),
    "create in own": creates_in_own(new_task("o", key="k", wait_until=VERY_EARLY)),
    "delete c": _deletes("c"),
    "cancel c": _cancels("c"),
    "put c off": _decides("c", lambda task: reschedule(task, VERY_LATE)),
    "bring d forward": _decides("d", lambda task: reschedule(task, VERY_EARLY)),
    "reset e": _decides("e", lambda task: reset(task, run_uid="again")),
    "claim a group": claims("C", group=2),
    "claim": claims("D"),
    "poll": _polls,
    "lock c": locks("c"),
}
_WHILE_HELD: Final[Mapping[str, Script]] = {
    "report a": reports("a"),
    "report b": reports("b"),
    "report both": _reports_both,
    "report b in own": _reports_in_own,
    "snooze a": reports("a", Snoozed(HOUR)),
    "follow up": _follows_up,
    "expire both": _expires("a", "b"),
    "expire them": _expires("b", "a"),
    "delete a": _deletes("a"),
    "delete b": _deletes("b"),
}
_WHILE_FREE: Final[Mapping[str, Script]] = {
    "delete a": _deletes("a"),
    "delete b": _deletes("b"),
    "cancel a": _cancels("a"),
    "put a off": _decides("a", lambda task: reschedule(task, VERY_LATE)),
    "lock a": locks("a"),
    "lock b": locks("b"),
}

PAIRS: Final[Mapping[str, Scene]] = {
    f"{state}: {one}, {other}": Scene(prepare=prepare, scripts={"A": first, "B": second})
    for state, prepare, actions in (
        ("held", _held, {**_WHILE_HELD, **_ALWAYS}),
        ("free", _free, {**_WHILE_FREE, **_ALWAYS}),
    )
    for (one, first), (other, second) in itertools.combinations(actions.items(), 2)
}
