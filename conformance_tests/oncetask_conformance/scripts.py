"""What the model machine draws: few ids, kinds and keys, so that everything meets everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec
from hypothesis import strategies as st

from oncetask_conformance.deeds import MINUTE, NO_DELAY, Row, Settle
from oncetask_conformance.moves import LETTER, PALLET, PARCEL, SECOND
from oncetask_core.claims import Slots
from oncetask_core.query import TaskFilter
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import TaskStatus
from oncetask_core.task import NewTask, StoreNow

IDS = ("a", "A", "b", "c", "d", "e", "f", "%")
SLOT = 10 * MINUTE
PICKS = st.integers(0, 99)
"""Which of several; modulo their number."""


class Shape(NamedTuple):
    """What tasks of one sort have in common."""

    kind: str
    key: str | None = None
    strict: bool = False
    generates: bool = False


SHAPES: Sequence[Shape] = (
    Shape(PARCEL),
    Shape(PARCEL, "van"),
    Shape(PARCEL, "van"),
    Shape(LETTER, "box", strict=True),
    Shape(LETTER, "box", strict=True),
    Shape(LETTER),
    Shape(LETTER, "van"),
    Shape(PALLET),
    Shape(PALLET, "van", strict=True),
    Shape(PALLET, "van"),
    Shape(PARCEL, generates=True),
    Shape(LETTER, "box", strict=True, generates=True),
)
_WAITS: Sequence[timedelta | StoreNow] = (
    StoreNow(),
    StoreNow(),
    StoreNow(),
    StoreNow(30 * SECOND),
    StoreNow(-MINUTE),
    -SECOND,
    15 * SECOND,
    StoreNow(61 * SECOND),
)
"""Relative to the store's clock, or (a plain duration) an absolute time so much after now."""
_EXTRAS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("default", "{}", {}),
    ("default", '{"to":"Ada","n":[1,2.5,null]}', {"traceparent": "00-1"}),
    ("slow", '"Zürich"', {}),
)
WAITS = st.sampled_from(_WAITS)


@dataclass(frozen=True, slots=True)
class Wish:
    """A task to be created, apart from the time and the random identities."""

    id: str
    shape: Shape
    wait: timedelta | StoreNow
    priority: int
    extra: tuple[str, str, Mapping[str, str]]

    def new(self, run_uid: str, created_by: str, *, now: datetime) -> NewTask:
        """Return the task."""
        queue, payload, headers = self.extra
        slot = now.replace(microsecond=0)
        rule = Recurrence(rrule="FREQ=MINUTELY;INTERVAL=10", dtstart=slot) if self.shape.generates else None
        wait_until = self.wait if isinstance(self.wait, StoreNow) else now + self.wait
        return NewTask(
            id=self.id,
            kind=self.shape.kind,
            payload=payload,
            run_uid=run_uid,
            created_by=created_by,
            wait_until=wait_until if rule is None else slot,
            resource_key=self.shape.key,
            strict_order=self.shape.strict,
            queue=queue,
            priority=self.priority,
            headers=headers,
            recurrence=rule,
        )


def _wishes(shapes: Sequence[Shape]) -> st.SearchStrategy[Wish]:
    priorities = st.sampled_from((0, 0, 0, 1, -1, 10, -10))
    return st.builds(Wish, st.sampled_from(IDS), st.sampled_from(shapes), WAITS, priorities, st.sampled_from(_EXTRAS))


WISHES = _wishes(SHAPES)
GENERATORS = _wishes([shape for shape in SHAPES if shape.generates])

LEASES_FOR = st.sampled_from((10 * SECOND, MINUTE, 10 * MINUTE))
RENEWALS = st.sampled_from((None, NO_DELAY, 5 * SECOND, MINUTE, 20 * MINUTE))
ALL: Mapping[str, Slots] = dict.fromkeys((PARCEL, LETTER, PALLET), Slots(limit=10, group=10))
_SLOTS: Sequence[Mapping[str, Slots]] = (
    {PARCEL: Slots(limit=1), LETTER: Slots(limit=1), PALLET: Slots(limit=1)},
    {PALLET: Slots(limit=2, group=3), LETTER: Slots(limit=3, group=2), PARCEL: Slots(limit=5, group=4)},
    {LETTER: Slots(limit=5, group=5)},
    {PARCEL: Slots(limit=2, group=2), PALLET: Slots(limit=5)},
    {PARCEL: Slots(limit=10), LETTER: Slots(limit=10), PALLET: Slots(limit=10)},
)
SLOTS = st.sampled_from(_SLOTS)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a holder ends its lease."""

    how: Literal["succeed", "fail", "snooze", "release"]
    result: str | None = None
    delay: timedelta | None = None
    final: bool = False
    fatal: bool = False

    def settle(self, seen: Row, *, at: datetime) -> Settle:
        """Return the deed."""
        return Settle(
            seen=seen,
            how=self.how,
            at=at,
            result=self.result,
            text=f"no such street at {at:%X}",
            delay=self.delay,
            final=self.final,
            fatal=self.fatal,
        )


ENDINGS = st.sampled_from((
    Ending("succeed"),
    Ending("succeed", result='{"signed":true}'),
    Ending("fail"),
    Ending("fail"),
    Ending("fail", delay=45 * SECOND),
    Ending("fail", delay=NO_DELAY),
    Ending("fail", final=True),
    Ending("fail", fatal=True),
    Ending("snooze", delay=20 * SECOND),
    Ending("snooze", delay=NO_DELAY),
    Ending("release"),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One atom of a batch."""

    what: str
    how: str
    pick: int
    ending: Ending
    wish: Wish


BATCHES = st.lists(
    st.builds(
        Part,
        st.sampled_from(
            ("settle", "settle late", "settle late", "settle again", "decide", "expire", "progress", "insert")
        ),
        st.sampled_from(("alone", "alone", "twice", "with an insert")),
        PICKS,
        ENDINGS,
        WISHES,
    ),
    min_size=2,
    max_size=4,
)

STEPS = st.sampled_from((
    timedelta(microseconds=1),
    SECOND,
    5 * SECOND,
    10 * SECOND,
    MINUTE,
    11 * MINUTE,
    None,
    None,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One condition of a filter."""

    field: str
    value: object


_ASKED = st.sampled_from((
    *(Asked("ids", frozenset(ids)) for ids in ((), ("a",), ("A", "b", "%", "unknown"))),
    *(Asked("kinds", frozenset(kinds)) for kinds in ((), (PARCEL,), (LETTER, PALLET))),
    *(Asked("statuses", frozenset({status})) for status in TaskStatus),
    Asked("statuses", frozenset({TaskStatus.PENDING, TaskStatus.CANCELLED, TaskStatus.LEASED})),
    *(Asked("resource_key", key) for key in ("van", "box", "nobody's")),
    *(Asked("queue", queue) for queue in ("default", "slow")),
    *(Asked("parent_recurrence_id", task_id) for task_id in IDS),
    *(Asked(fact, value) for fact in ("live", "due", "run_out", "generators", "suspects") for value in (True, False)),
    *(Asked(time, step) for time in ("created_from", "created_before", "done_before") for step in (NO_DELAY, MINUTE)),
))  # fmt: skip
CONDITIONS = st.lists(_ASKED, max_size=3)


def where(conditions: Sequence[Asked], *, now: datetime) -> TaskFilter:
    """Return the filter that asks for all of them; durations mean so long before now."""
    values = {one.field: now - one.value if isinstance(one.value, timedelta) else one.value for one in conditions}
    return msgspec.convert(values, TaskFilter)
