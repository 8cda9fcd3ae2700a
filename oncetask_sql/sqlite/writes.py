"""Guarded writes of single tasks, as many as share a form in one statement.

The form of a write is which guards it names and which fields it sets. Forms are few, so each has a statement that
is prepared once per size. The guards stand in the WHERE; what they refuse is judged afterwards by the specification.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from oncetask_core.errors import StoreError
from oncetask_core.transition import Guard, Transition, Verdict, judge
from oncetask_sql.codec import Task, UnreadableRowError, encode
from oncetask_sql.sqlite.failures import ROW_ERRORS
from oncetask_sql.sqlite.given import MOST_ROWS, padded, parameters, table
from oncetask_sql.sqlite.transaction import Transaction


class Write(NamedTuple):
    """One guarded change of one task."""

    guard: Guard
    transition: Transition | None
    """None deletes the task."""


class Result(NamedTuple):
    """What became of a write."""

    verdict: Verdict
    task: Task | None = None
    """The current record, when its guard refused."""
    error: StoreError | None = None
    """Why it could not be written, when the verdict is broken."""


class Form(NamedTuple):
    """What writes of one statement have in common."""

    deletes: bool
    bumps_revision: bool
    lease: bool
    epoch: bool
    run_out: bool
    revision: bool
    values: tuple[str, ...]
    """The fields that are set to a value."""
    nulls: tuple[str, ...]
    """The fields that are cleared."""


DONE: Final = Result(Verdict.APPLIED)


def change(transition: Transition) -> Write:
    """Return the write of a transition."""
    return Write(transition.guard, transition)


def write(tx: Transaction, writes: Sequence[Write]) -> list[Result]:
    """Write each change whose guard holds, of different tasks; return one result for each, in order."""
    forms: dict[Form, list[int]] = {}
    for position, one in enumerate(writes):
        forms.setdefault(_form(one), []).append(position)
    results: dict[int, Result] = {}
    for form, positions in forms.items():
        for start in range(0, len(positions), MOST_ROWS):
            some = positions[start : start + MOST_ROWS]
            results.update(zip(some, _write_some(tx, form, [writes[position] for position in some]), strict=True))
    return [results[position] for position in range(len(writes))]


def _write_some(tx: Transaction, form: Form, writes: Sequence[Write]) -> list[Result]:
    """Write the changes by one statement; halve them until what cannot be written stands alone."""
    try:
        rows = [_row(tx, form, one) for one in writes]
        written = tx.all(_statement(form, padded(len(rows))), [*parameters(rows), *_constants(tx, form)])
    except ROW_ERRORS as error:
        return _bisect(tx, form, writes, error=error)
    for _, kind, resource_key in written:
        tx.touch(kind, resource_key if form.bumps_revision else None)
    done = {task_id for task_id, _, _ in written}
    return [DONE if one.guard.id in done else _refused(tx, one.guard) for one in writes]


def _bisect(tx: Transaction, form: Form, writes: Sequence[Write], *, error: Exception) -> list[Result]:
    if len(writes) == 1:
        broken = StoreError(f"task {writes[0].guard.id!r} cannot be written: {error}")
        broken.__cause__ = error
        return [Result(Verdict.BROKEN, error=broken)]
    half = len(writes) // 2
    return [*_write_some(tx, form, writes[:half]), *_write_some(tx, form, writes[half:])]


def _refused(tx: Transaction, guard: Guard) -> Result:
    try:
        task = tx.one(guard.id)
    except UnreadableRowError as error:
        return Result(Verdict.BROKEN, error=error)
    return Result(judge(guard, task, tx.now), task)


def _form(one: Write) -> Form:
    guard, transition = one
    fields = () if transition is None else transition.patch.items()
    return Form(
        deletes=transition is None,
        bumps_revision=transition is None or transition.bumps_revision,
        lease=guard.lease_uid is not None,
        epoch=guard.lease_uid is not None and guard.epoch is not None,
        run_out=guard.lease_uid is not None and guard.run_out,
        revision=guard.lease_uid is None or guard.revision is not None,
        values=tuple([name for name, value in fields if value is not None]),
        nulls=tuple([name for name, value in fields if value is None]),
    )


def _row(tx: Transaction, form: Form, one: Write) -> list[object]:
    guard, transition = one
    row: list[object] = [guard.id, guard.run_uid]
    if form.lease:
        row.append(guard.lease_uid)
    if form.epoch:
        row.append(guard.epoch)
    if form.revision:
        row.append(guard.revision)
    if transition is not None:
        patch = transition.patch
        row.extend(encode(name, patch[name], tx.now) for name in form.values)  # type: ignore[literal-required]  # names of Patch
    return row


def _constants(tx: Transaction, form: Form) -> Iterable[object]:
    yield tx.env
    if form.run_out:
        yield tx.micros


@lru_cache(maxsize=512)
def _statement(form: Form, count: int) -> str:
    given = table("given", tuple(_given(form)), count)
    if form.deletes:
        return f"""{given} DELETE FROM oncetask_task WHERE sequence IN (
            SELECT t.sequence FROM given CROSS JOIN oncetask_task AS t INDEXED BY oncetask_task_id
            WHERE {" AND ".join(_conditions(form))}) RETURNING id, kind, resource_key"""
    return f"""{given} UPDATE oncetask_task AS t INDEXED BY oncetask_task_id SET {", ".join(_assignments(form))}
        FROM given WHERE {" AND ".join(_conditions(form))} RETURNING id, kind, resource_key"""


def _given(form: Form) -> Iterable[str]:
    yield from ("id", "run_uid")
    yield from (name for name in ("lease", "epoch", "revision") if getattr(form, name))
    yield from (f"new_{name}" for name in form.values)


def _assignments(form: Form) -> Iterable[str]:
    yield from (f"{name} = given.new_{name}" for name in form.values)
    yield from (f"{name} = NULL" for name in form.nulls)
    if form.bumps_revision:
        yield "revision = t.revision + 1"


def _conditions(form: Form) -> Iterable[str]:
    yield "t.env = ? AND t.id = given.id AND t.run_uid = given.run_uid"
    if form.lease:
        yield "t.lease_uid IS given.lease"
    if form.epoch:
        yield "t.epoch = given.epoch"
    if form.revision:
        yield "t.revision = given.revision"
    if form.run_out:
        yield "t.leased_until <= ?"


def current(tx: Transaction, guard: Guard) -> Task | None:
    """Return the record that a guard is about, as it is now; None if there is none that can be read."""
    return _refused(tx, guard).task
