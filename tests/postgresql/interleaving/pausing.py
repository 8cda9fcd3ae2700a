"""Scenes in which a statement stops in its middle: it has its snapshot, and has not locked yet what it writes.

The statement is as it was but for a lock on the way, which somebody else gives up in a step of its own.
"""

import os
from collections.abc import Mapping
from typing import Final

from oncetask_core.decisions import Released, cancel, deletion, reschedule
from oncetask_sql.postgresql import claiming, seating
from tests.defects.planting import replaced
from tests.postgresql.interleaving.exploring import Plant, Scene, Script
from tests.postgresql.interleaving.scenes import EARLY, LATE, claims, creates, having, reports
from tests.postgresql.interleaving.stage import Hand
from tests.sql.world import new_task

_NUMBERS: Final = f"7, {os.getpid()}"
_PAUSE: Final = f"pg_advisory_xact_lock_shared({_NUMBERS})::text = ''"


def _paused(sql: str, place: str) -> str:
    """Return a statement that stops where a condition stands."""
    assert sql.count(place) == 1, place
    return sql.replace(place, f"{place} AND {_PAUSE}")


BEFORE_HEADS: Final = _paused(claiming._READY_GROUPS, "kind = slots.kind")
"""The heads are found, but not locked."""
BEFORE_MEMBERS: Final = _paused(claiming._READY_GROUPS, "resource_key = heads.resource_key")
"""The heads are taken, and who may join them is found, but not locked."""
BEFORE_CLEAR: Final = _paused(seating._CLEAR, "head_key = keys.key")
"""The seat that goes to somebody else is found, but not locked."""
BEFORE_SEAT: Final = _paused(seating._SEAT, "h.head_key = keys.key LIMIT 1) IS NULL")
"""Whoever comes next is found, but not locked."""


def _within(original: str, paused: str) -> Plant:
    return lambda: replaced(original, paused)


async def _holds_up(hand: Hand) -> None:
    await hand.hold(f"SELECT pg_advisory_xact_lock({_NUMBERS})")


def _cancels(name: str) -> Script:
    async def script(hand: Hand) -> None:
        await hand.apply(cancel(hand.stage.start[name], has_cleanup=False))

    return script


def _puts_off(name: str) -> Script:
    async def script(hand: Hand) -> None:
        await hand.apply(reschedule(hand.stage.start[name], LATE))

    return script


def _deletes(name: str) -> Script:
    async def script(hand: Hand) -> None:
        await hand.delete(deletion(hand.stage.start[name]))

    return script


async def _claims_and_releases(hand: Hand) -> None:
    for task in await hand.claim("B"):  # by another statement than a group's, which does not stop
        await hand.report(task, Released())


OTHERS: Final[Mapping[str, Script]] = {
    "cancel the head": _cancels("a"),
    "cancel a member": _cancels("b"),
    "put the head off": _puts_off("a"),
    "put a member off": _puts_off("b"),
    "delete the head": _deletes("a"),
    "delete a member": _deletes("b"),
    "create what comes first": creates(new_task("x", key="k", wait_until=EARLY)),
    "claim and release": _claims_and_releases,
}
"""What happens meanwhile to tasks of which nobody is held."""


_OF_HEADS: Final = ("cancel the head", "put the head off", "create what comes first", "claim and release")
_OF_MEMBERS: Final = ("cancel a member", "put a member off", "delete a member", "create what comes first")


def _scene(original: str, paused: str, *, stops: Script, meanwhile: Script, held: int) -> Scene:
    return Scene(
        prepare=having("a", "b", "c", held=held),
        scripts={"A": stops, "B": meanwhile, "P": _holds_up},
        coarse=frozenset({"A", "B"}),
        within=_within(original, paused),
    )


_COMES_FIRST: Final = creates(new_task("y", key="k", wait_until=EARLY))

PAUSED: Final[Mapping[str, Scene]] = {
    f"{place}, {other}": _scene(original, paused, stops=stops, meanwhile=OTHERS[other], held=held)
    for place, original, paused, stops, held, others in (
        ("before heads are locked", claiming._READY_GROUPS, BEFORE_HEADS, claims("A", group=2), 0, list(OTHERS)),
        ("before members are locked", claiming._READY_GROUPS, BEFORE_MEMBERS, claims("A", group=2), 0, list(OTHERS)),
        ("before clearing", seating._CLEAR, BEFORE_CLEAR, _COMES_FIRST, 0, _OF_HEADS),
        ("before seating", seating._SEAT, BEFORE_SEAT, reports("a"), 1, _OF_MEMBERS),
    )
    for other in others
}
