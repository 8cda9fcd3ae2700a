"""Scenes: what some actors do with one key at the same time. Each must keep the rules however its steps are mixed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from oncetask_core.clock import START
from oncetask_core.decisions import (
    Failure,
    KindRules,
    Released,
    Report,
    Snoozed,
    cancel,
    conclude,
    deletion,
    reschedule,
    reset,
)
from oncetask_core.task import NewTask
from oncetask_core.transition import Verdict
from tests.postgresql.interleaving.exploring import Scene, Script
from tests.postgresql.interleaving.stage import Hand
from tests.sql.world import DONE, HOUR, RULES, new_task

EARLY: Final = START - HOUR
LATE: Final = START + HOUR
FAILED: Final = Failure(error=ValueError("no"), text="no", at=START)
CLEANED_UP: Final = KindRules(has_cleanup=True)


def keyed(*names: str, strict: bool = False) -> list[NewTask]:
    """Return tasks of the key, due since the start."""
    return [new_task(name, key="k", strict=strict) for name in names]


def having(*names: str, held: int = 0, run_out: bool = False, strict: bool = False) -> Script:
    """Return what creates tasks of the key; the first are held as a group, by a lease that may have run out."""

    async def prepare(hand: Hand) -> None:
        await hand.create(*keyed(*names, strict=strict))
        if held:
            await hand.claim("G", group=held)
        if run_out:
            hand.stage.clock.advance(2 * HOUR)

    return prepare


def reports(name: str, report: Report = DONE, *, rules: KindRules = RULES) -> Script:
    """Return what ends a run as its holder."""

    async def script(hand: Hand) -> None:
        await hand.report(name, report, rules=rules)

    return script


def claims(lease: str, *, group: int = 1) -> Script:
    """Return what claims once."""

    async def script(hand: Hand) -> None:
        await hand.claim(lease, group=group)

    return script


def creates(*tasks: NewTask) -> Script:
    """Return what creates tasks."""

    async def script(hand: Hand) -> None:
        await hand.create(*tasks)

    return script


def creates_in_own(*tasks: NewTask) -> Script:
    """Return what creates tasks in a transaction of the caller."""

    async def script(hand: Hand) -> None:
        await hand.create_in_own(*tasks)

    return script


def locks(name: str) -> Script:
    """Return what locks a row for a while, as a transaction of a caller may."""

    async def script(hand: Hand) -> None:
        await hand.lock(name)

    return script


async def _expires_then_claims(hand: Hand) -> None:
    await hand.expire("a", "b")
    await hand.claim("B", group=2)


async def _reports_in_own(hand: Hand) -> None:
    await hand.report_in_own("b")


async def _takes_over(hand: Hand) -> None:
    """Do as another worker does; whoever was granted a task that nobody expired since is heard."""
    await hand.expire("a")
    for task in await hand.claim("B", suspects=True):
        if await hand.report(task) is not Verdict.APPLIED:
            hand.stage.broken.append(f"the holder of {task.id} is not heard")


async def _polls_then_claims(hand: Hand) -> None:
    await hand.poll()
    await hand.claim("B")


async def _a_finished_one(hand: Hand) -> None:
    await having("a", "b", held=1)(hand)
    await hand.stage.look()
    await hand.report(hand.stage.tasks["a"])


async def _later(hand: Hand) -> None:
    await hand.create(new_task("b", key="k", wait_until=LATE))


TWO_CLAIMS: Final = Scene(
    prepare=having("a", "b", "c"),
    scripts={"A": claims("A"), "B": claims("B", group=2)},
    never_wait=frozenset({"A", "B"}),
)
"""Two workers see one key."""
MEMBER_BESIDE_CLAIM: Final = Scene(
    prepare=having("a", "b", "c", held=2, run_out=True),
    scripts={"A": reports("a"), "B": claims("B")},
    never_wait=frozenset({"B"}),
)
"""One of a group ends, late, while another worker claims."""
MEMBERS_TOGETHER: Final = Scene(
    prepare=having("a", "b", "c", held=2),
    scripts={"A": reports("a"), "B": reports("b")},
)
"""Both of a group end at once."""
CREATE_BESIDE_REPORT: Final = Scene(prepare=having("a", held=1), scripts={"A": reports("a"), "B": creates(*keyed("b"))})
"""A task is created while the only other one ends."""
TWO_CREATES: Final = Scene(scripts={"A": creates(*keyed("b")), "B": creates(new_task("a", key="k", wait_until=EARLY))})
"""Two tasks of a new key are created at once; the one created by B comes first."""
EARLIER_BESIDE_CLAIM: Final = Scene(
    prepare=having("b", "c"),
    scripts={"A": creates(new_task("a", key="k", wait_until=EARLY)), "B": claims("B", group=2)},
    never_wait=frozenset({"B"}),
)
"""A task that comes first is created while the head and its successor are claimed."""
NEXT_IS_LOCKED: Final = Scene(prepare=having("a", "b", held=1), scripts={"A": reports("a"), "U": locks("b")})
"""A task ends whose successor a transaction of a caller has locked."""
HEAD_IS_LOCKED: Final = Scene(
    prepare=having("b"), scripts={"A": creates(new_task("a", key="k", wait_until=EARLY)), "U": locks("b")}
)
"""A task that comes first is created while a transaction of a caller has the head locked."""
ENDING_IS_LOCKED: Final = Scene(prepare=having("a", "b", held=1), scripts={"A": reports("a"), "U": locks("a")})
"""A task ends that a transaction of a caller has locked."""
GROUP_RUNS_OUT: Final = Scene(
    prepare=having("a", "b", "c", held=2, run_out=True),
    scripts={"B": _expires_then_claims, "U": _reports_in_own},
    coarse=frozenset({"B"}),
    impatient=frozenset({"B"}),
)
"""A holder ends one of its group late, in a transaction of its own, while another worker expires what it can of it and
claims for a group."""
CREATED_AGAIN: Final = Scene(
    prepare=_a_finished_one,
    scripts={"A": creates(*keyed("a")), "B": claims("B")},
    never_wait=frozenset({"B"}),
)
"""A task that has ended is created again while its successor is claimed."""
OWN_BESIDE_CLAIM: Final = Scene(
    prepare=_later,
    scripts={"B": _polls_then_claims, "U": creates_in_own(new_task("a", key="k", wait_until=EARLY))},
    never_wait=frozenset({"U"}),
)
"""A caller's transaction creates the task that comes first, while a worker polls."""
TWO_CALLERS: Final = Scene(
    scripts={"U": creates_in_own(*keyed("a")), "V": creates_in_own(*keyed("b"))}, never_wait=frozenset({"U", "V"})
)
"""Two transactions of callers create tasks of one key."""
LATE_HOLDER: Final = Scene(
    prepare=having("a", "b", held=1, run_out=True),
    scripts={"A": reports("a"), "B": _takes_over},
    coarse=frozenset({"B"}),
)
"""A holder reports late, while another worker takes its task over and reports, too."""

SCENES: Final[Mapping[str, Scene]] = {
    name.lower(): scene for name, scene in dict(globals()).items() if isinstance(scene, Scene)
}


# Every path that changes who comes next in a key, beside a claim


def _path(script: Script, *, prepare: Script) -> Scene:
    return Scene(prepare=prepare, scripts={"A": script, "B": claims("B")}, coarse=frozenset({"A", "B"}))


async def _a_cancelled_one(hand: Hand) -> None:
    await having("a", "b")(hand)
    await hand.stage.look()
    await hand.apply(cancel(hand.stage.tasks["a"], has_cleanup=True))
    await hand.claim("G")


async def _a_damaged_one(hand: Hand) -> None:
    await having("a", "b")(hand)
    await hand.say("UPDATE oncetask_task SET errors = 'damaged' WHERE env = %(env)s AND id = 'a'")


async def _cancels(hand: Hand) -> None:
    await hand.apply(cancel(hand.stage.start["a"], has_cleanup=False))


async def _resets(hand: Hand) -> None:
    await hand.apply(reset(hand.stage.start["a"], run_uid="again"))


async def _puts_off(hand: Hand) -> None:
    await hand.apply(reschedule(hand.stage.start["a"], LATE))


async def _brings_forward(hand: Hand) -> None:
    await hand.apply(reschedule(hand.stage.start["b"], EARLY))


async def _deletes(hand: Hand) -> None:
    await hand.delete(deletion(hand.stage.start["a"]))


async def _follows_up(hand: Hand) -> None:
    done = conclude(hand.stage.start["a"], DONE, RULES, chance=0.0)
    await hand.apply(done, inserts=[new_task("c", key="k", wait_until=EARLY)])


async def _expires(hand: Hand) -> None:
    await hand.expire("a")


_held: Final = having("a", "b", held=1)
_waiting: Final = having("a", "b")

PATHS: Final[Mapping[str, Scene]] = {
    "create": _path(creates(new_task("c", key="k", wait_until=EARLY)), prepare=_waiting),
    "succeed": _path(reports("a"), prepare=_held),
    "retry": _path(reports("a", FAILED), prepare=_held),
    "retry in strict order": _path(reports("a", FAILED), prepare=having("a", "b", held=1, strict=True)),
    "give up": _path(reports("a", Failure(error=ValueError("no"), text="no", at=START, final=True)), prepare=_held),
    "release": _path(reports("a", Released()), prepare=_held),
    "snooze": _path(reports("a", Snoozed(timedelta(minutes=1))), prepare=_held),
    "expire": _path(_expires, prepare=having("a", "b", held=1, run_out=True)),
    "clean up": _path(reports("a", rules=CLEANED_UP), prepare=_a_cancelled_one),
    "settle with a follow-up": _path(_follows_up, prepare=_held),
    "put off": _path(_puts_off, prepare=_waiting),
    "bring forward": _path(_brings_forward, prepare=_waiting),
    "cancel": _path(_cancels, prepare=_waiting),
    "reset": _path(_resets, prepare=_a_finished_one),
    "delete the head": _path(_deletes, prepare=_waiting),
    "delete what is held": _path(_deletes, prepare=_held),
    "set aside": _path(claims("A"), prepare=_a_damaged_one),
}
