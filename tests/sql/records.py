"""Hypothesis strategies for records with every field that is stored."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import OnceTask, TaskError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1, max_size=12)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
COUNTS = st.integers(0, 2**31)
RULES = st.just(Recurrence(rrule="FREQ=DAILY", dtstart=datetime(2030, 1, 1, tzinfo=UTC)))
ERRORS = st.builds(TaskError, at=TIMES, error=TEXTS, attempt=COUNTS)


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Return the strategy's values, or None."""
    return st.none() | strategy


FIELDS: dict[str, st.SearchStrategy[object]] = {
    "id": NAMES,
    "kind": NAMES,
    "env": NAMES,
    "payload": TEXTS,
    "run_uid": NAMES,
    "created_by": NAMES,
    "created_at": TIMES,
    "wait_until": TIMES,
    "order_at": TIMES,
    "sequence": st.integers(1, 2**62),
    "resource_key": optional(NAMES),
    "strict_order": st.booleans(),
    "head_key": optional(NAMES),
    "queue": NAMES,
    "priority": st.integers(-10, 10),
    "headers": st.dictionaries(NAMES, TEXTS, max_size=3),
    "lease_uid": optional(NAMES),
    "leased_by": optional(TEXTS),
    "leased_until": optional(TIMES),
    "epoch": COUNTS,
    "in_cleanup": st.booleans(),
    "started_at": optional(TIMES),
    "revision": COUNTS,
    "settled_by": st.lists(NAMES, max_size=3).map(tuple),
    "claims": COUNTS,
    "failures": COUNTS,
    "crashes": COUNTS,
    "cleanup_attempts": COUNTS,
    "is_cancelled": st.booleans(),
    "cancelled_at": optional(TIMES),
    "done_at": optional(TIMES),
    "outcome": optional(st.sampled_from(Outcome)),
    "result": optional(TEXTS),
    "errors": st.lists(ERRORS, max_size=3).map(tuple),
    "error_count": COUNTS,
    "progress": optional(TEXTS),
    "recurrence": optional(RULES),
    "slots_used": COUNTS,
    "parent_recurrence_id": optional(NAMES),
    "occurrence_timestamp": optional(TIMES),
}


def _record(fields: Mapping[str, Any]) -> OnceTask[object]:
    return OnceTask(**fields)


TASKS: st.SearchStrategy[OnceTask[object]] = st.fixed_dictionaries(FIELDS).map(_record)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NEAR = st.integers(-2, 2).map(lambda hours: NOW + timedelta(hours=hours))
SMALL = st.integers(0, 1)
FILTERED: dict[str, st.SearchStrategy[object]] = {
    "kind": st.sampled_from(["a", "b", "A"]),
    "created_at": NEAR,
    "wait_until": NEAR,
    "resource_key": optional(st.sampled_from(["x", "y", "X"])),
    "queue": st.sampled_from(["default", "slow"]),
    "is_cancelled": st.booleans(),
    "crashes": SMALL,
    "recurrence": optional(RULES),
    "parent_recurrence_id": optional(st.sampled_from(["g", "h"])),
}
"""Fields that filters look at, with few values, so that filters often match."""


@st.composite
def filtered_tasks(draw: st.DrawFn) -> list[OnceTask[object]]:
    """Return a few records with ids of their own, each finished, leased or neither."""
    tasks: list[OnceTask[object]] = []
    for number in range(draw(st.integers(1, 8))):
        fields: dict[str, Any] = draw(st.fixed_dictionaries(FILTERED))
        state = draw(st.sampled_from(["finished", "leased", "free"]))
        if state == "finished":
            fields |= {"outcome": draw(st.sampled_from(Outcome)), "done_at": draw(NEAR)}
        elif state == "leased":
            fields |= {"lease_uid": f"lease {number}", "leased_by": "worker", "leased_until": draw(NEAR)}
        tasks.append(
            OnceTask(
                id=f"task {number}",
                env="DEFAULT",
                payload="{}",
                run_uid="run",
                created_by="creator",
                order_at=fields["wait_until"],
                sequence=number + 1,
                **fields,
            )
        )
    return tasks
