"""The transition diagram and table of `docs/concepts.md`, made by running the decisions.

    python -m tools.transition_table            print both
    python -m tools.transition_table --write    put them into the document

Every state has a representative record and every event a function; whatever the core answers is what the table says.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, cast

import msgspec

from oncetask_core.claims import Claim, leased
from oncetask_core.clock import START
from oncetask_core.decisions import (
    Failure,
    KindRules,
    Released,
    Report,
    Snoozed,
    Success,
    Uids,
    break_off,
    cancel,
    conclude,
    expire,
    report_progress,
    reschedule,
    reset,
    tick,
)
from oncetask_core.errors import OncetaskError
from oncetask_core.recurrence import Cursor, Due, Recurrence
from oncetask_core.retry import FixedDelayPolicy, NoRetryPolicy
from oncetask_core.status import TaskStatus
from oncetask_core.task import NewTask, OnceTask, StoreNow, born
from oncetask_core.transition import Transition, Verdict, applied, judge
from tools.project import ROOT

DOCUMENT = ROOT / "docs" / "concepts.md"
BEGIN = "<!-- begin: python -m tools.transition_table --write -->"
END = "<!-- end -->"

Task = OnceTask[object]
NOW = START + timedelta(days=1)
SECOND = timedelta(seconds=1)
NEXT = Cursor(slot=NOW + timedelta(days=1), used=1)

_AGAIN = FixedDelayPolicy(delay=1, max_attempts=0)
LASTING = KindRules(retry_policy=_AGAIN, cleanup_policy=_AGAIN, max_crashes=0)
LAST = KindRules(retry_policy=NoRetryPolicy(), cleanup_policy=NoRetryPolicy())
CLEANED_UP = msgspec.structs.replace(LASTING, has_cleanup=True)

GROUPS: Mapping[str, frozenset[str]] = {
    "lease": frozenset({"lease_uid", "leased_by", "leased_until"}),
    "time": frozenset({"wait_until", "order_at"}),
    "history": frozenset({"errors", "error_count"}),
    "end": frozenset({"outcome", "done_at"}),
    "counters": frozenset({"claims", "failures", "crashes", "cleanup_attempts"}),
    "request": frozenset({"is_cancelled", "cancelled_at"}),
}
"""Fields that are written together, under the names that the table gives them."""


class Row(NamedTuple):
    """What one event does in one state."""

    before: str
    event: str
    after: str
    fields: frozenset[str]


class Change(NamedTuple):
    """What an event made of a record."""

    after: Task
    fields: frozenset[str]


Apply = Callable[[Task], Change | None]
"""Returns what the event does to the record; None, or one of our errors, where it does nothing."""


def _held(task: Task) -> Task:
    claim = Claim(lease_uid="lease", leased_by="worker", lease_for=timedelta(minutes=1), slots={})
    return leased(task, claim, now=NOW, epoch=1)


def _cancelled(task: Task, rules: KindRules) -> Task:
    return applied(task, cast(Transition, cancel(task, has_cleanup=rules.has_cleanup)), NOW)


def _records() -> dict[str, Task]:
    """Return a representative record for each state, in the order of the table."""
    new = NewTask(id="t", kind="kind", payload="{}", run_uid="run", created_by="call")
    pending = born(new, env="DOCS", now=NOW, sequence=1)
    waiting = applied(pending, reschedule(pending, StoreNow(SECOND)), NOW)
    running, cleaning = _held(pending), _held(_cancelled(pending, CLEANED_UP))
    rule = Recurrence(rrule="FREQ=DAILY", dtstart=NOW)
    return {
        "waiting": waiting,
        "pending": pending,
        "leased": running,
        "leased, told to stop": _cancelled(running, CLEANED_UP),
        "clean-up due": _cancelled(pending, CLEANED_UP),
        "clean-up leased": cleaning,
        "completed": applied(running, conclude(running, Success("1"), LAST, chance=0.0), NOW),
        "failed": applied(running, conclude(running, _failure(), LAST, chance=0.0), NOW),
        "cancelled": _cancelled(pending, LAST),
        "generator": msgspec.structs.replace(pending, recurrence=rule),
    }


def state_of(task: Task) -> str:
    """Return the name of the state that the table gives a record."""
    if task.is_generator and task.is_live:
        return "generator"
    status = task.status(NOW)
    if status is not TaskStatus.CANCELLATION_PENDING:
        return status.value
    if task.lease_uid is None:
        return "clean-up due"
    return "clean-up leased" if task.in_cleanup else "leased, told to stop"


def _failure(*, final: bool = False) -> Failure:
    return Failure(error=RuntimeError("no"), text="no", at=NOW, final=final)


def _written(decide: Callable[[Task], Transition | None]) -> Apply:
    def apply(task: Task) -> Change | None:
        transition = decide(task)
        if transition is None:
            return None
        late = msgspec.structs.replace(task, leased_until=NOW) if transition.guard.run_out else task
        if judge(transition.guard, late, NOW) is not Verdict.APPLIED:
            return None
        return Change(applied(task, transition, NOW), frozenset(transition.patch))

    return apply


def _reported(report: Report, rules: KindRules = LASTING) -> Apply:
    return _written(lambda task: conclude(task, report, rules, chance=0.0))


def _ticked(cursor: Cursor | None) -> Apply:
    def decide(task: Task) -> Transition | None:
        due = Due(fire=(NOW,), next=cursor)
        return (
            tick(task, due, Uids(created_by="call", run_uids=("run 2",))).transitions[0] if task.is_generator else None
        )

    return _written(decide)


def _claimed(task: Task) -> Change | None:
    if state_of(task) not in {"pending", "clean-up due"}:
        return None
    befores = (task, msgspec.structs.replace(task, in_cleanup=not task.in_cleanup))
    fields = {
        name
        for before in befores
        for name in OnceTask.__struct_fields__
        if getattr(_held(before), name) != getattr(before, name)
    }
    return Change(_held(task), frozenset(fields - {"revision"}))


def _renewed(task: Task) -> Change | None:
    return None if task.lease_uid is None else Change(task, frozenset({"leased_until"}))


def _time_passed(task: Task) -> Change | None:
    return Change(msgspec.structs.replace(task, wait_until=NOW), frozenset()) if task.wait_until > NOW else None


EVENTS: Mapping[str, Apply] = {
    "time passes": _time_passed,
    "claim": _claimed,
    "renew": _renewed,
    "progress": _written(lambda task: report_progress(task, "1")),
    "succeed": _reported(Success("1")),
    "succeed, clean-up follows": _reported(Success("1"), CLEANED_UP),
    "fail": _reported(_failure()),
    "fail, clean-up follows": _reported(_failure(), CLEANED_UP),
    "fail, last attempt": _reported(_failure(), LAST),
    "snooze": _reported(Snoozed(SECOND)),
    "snooze, clean-up follows": _reported(Snoozed(SECOND), CLEANED_UP),
    "release": _reported(Released()),
    "release, clean-up follows": _reported(Released(), CLEANED_UP),
    "expire": _written(lambda task: expire(task, LASTING, at=NOW, chance=0.0)),
    "expire, clean-up follows": _written(lambda task: expire(task, CLEANED_UP, at=NOW, chance=0.0)),
    "expire, last attempt": _written(lambda task: expire(task, LAST, at=NOW, chance=0.0)),
    "cancel": _written(lambda task: cancel(task, has_cleanup=False)),
    "cancel, clean-up follows": _written(lambda task: cancel(task, has_cleanup=True)),
    "reschedule": _written(lambda task: reschedule(task, StoreNow(SECOND))),
    "reset": _written(lambda task: reset(task, run_uid="run 2", resume=NEXT if task.is_generator else None)),
    "tick": _ticked(NEXT),
    "tick, last slot": _ticked(None),
    "break off": _written(lambda task: break_off(task, "no", at=NOW).transitions[0] if task.is_generator else None),
}


def rows() -> list[Row]:
    """Return what every event does in every state, by running the core."""
    return [row for before, task in _records().items() for row in _distinct(list(_rows_of(before, task)))]


def _rows_of(before: str, task: Task) -> Iterator[Row]:
    for event, apply in EVENTS.items():
        try:
            change = apply(task)
        except OncetaskError:
            continue
        if change is not None:
            yield Row(before, event, state_of(change.after), change.fields)


def _distinct(of_state: Sequence[Row]) -> Iterator[Row]:
    """Leave out variants of an event that do the same, and the variant's name where there is one left."""
    firsts: dict[tuple[str, str, frozenset[str]], Row] = {}
    for row in of_state:
        firsts.setdefault((_plain(row.event), row.after, row.fields), row)
    left = Counter(_plain(row.event) for row in firsts.values())
    for row in firsts.values():
        yield row if left[_plain(row.event)] > 1 else row._replace(event=_plain(row.event))


def _plain(event: str) -> str:
    """Return the event's name without that of its variant."""
    return event.partition(",")[0]


def diagram(table: Sequence[Row]) -> str:
    """Return the transitions between the states as a Mermaid diagram; generators are left out."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in table:
        if row.before not in (row.after, "generator"):
            arrows.setdefault((row.before, row.after), []).append(_plain(row.event))
    names = dict.fromkeys(name for arrow in arrows for name in arrow)
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{name}" as {_identifier(name)}' for name in names if _identifier(name) != name]
    lines += ["    [*] --> waiting: create", "    [*] --> pending: create"]
    for (before, after), events in arrows.items():
        lines.append(f"    {_identifier(before)} --> {_identifier(after)}: {', '.join(dict.fromkeys(events))}")
    return "\n".join(lines)


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def table_of(table: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = ["| from | event | to | writes |", "|---|---|---|---|"]
    lines += [f"| {row.before} | {row.event} | {row.after} | {_named(row.fields)} |" for row in table]
    return "\n".join(lines)


def _named(fields: frozenset[str]) -> str:
    """Return the fields in words, those that are written together under one name."""
    words: list[str] = []
    for name, members in GROUPS.items():
        if members <= fields:
            words.append(f"*{name}*")
            fields -= members
    return ", ".join(words + [f"`{name}`" for name in sorted(fields)]) or "nothing"


def legend() -> str:
    """Return what the names of fields that are written together stand for."""
    return "; ".join(f"*{name}*: " + ", ".join(f"`{field}`" for field in sorted(GROUPS[name])) for name in GROUPS) + "."


def block() -> str:
    """Return everything that the document holds between its two marks."""
    table = rows()
    return f"```mermaid\n{diagram(table)}\n```\n\n{table_of(table)}\n\n{legend()}"


def updated(text: str) -> str:
    """Return the document with the current block.

    Raises:
        ValueError: The document lacks one of the marks.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the document holds the block between {BEGIN} and {END}; a mark is missing")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{block()}\n\n{END}{rest.partition(END)[2]}"


def main(arguments: Sequence[str]) -> int:
    """Print the block, or write it into the document."""
    if "--write" in arguments:
        DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(block())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
