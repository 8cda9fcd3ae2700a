"""Statements of writes that share a form, prepared once per size.

The guards stand in the WHERE; what they refuse is judged afterwards by the specification.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from oncetask_core.errors import StoreError
from oncetask_core.transition import Guard, Verdict, judge
from oncetask_sql.codec import Task, UnreadableRowError
from oncetask_sql.forms import Form, Write, grouped
from oncetask_sql.sqlite.failures import ROW_ERRORS
from oncetask_sql.sqlite.given import MOST_ROWS, padded, parameters, table
from oncetask_sql.sqlite.transaction import Transaction


class Result(NamedTuple):
    """What became of a write."""

    verdict: Verdict
    task: Task | None = None
    """The current record, when its guard refused."""
    error: StoreError | None = None
    """Why it could not be written, when the verdict is broken."""


DONE: Final = Result(Verdict.APPLIED)


def write(tx: Transaction, writes: Sequence[Write]) -> list[Result]:
    """Write each change whose guard holds, of different tasks; return one result for each, in order."""
    results: dict[int, Result] = {}
    for form, positions in grouped(writes):
        for start in range(0, len(positions), MOST_ROWS):
            some = positions[start : start + MOST_ROWS]
            results.update(zip(some, _write_some(tx, form, [writes[position] for position in some]), strict=True))
    return [results[position] for position in range(len(writes))]


def _write_some(tx: Transaction, form: Form, writes: Sequence[Write]) -> list[Result]:
    """Write the changes by one statement; halve them until what cannot be written stands alone."""
    try:
        rows = [form.row(one, now=tx.now) for one in writes]
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


def _constants(tx: Transaction, form: Form) -> Iterable[object]:
    yield tx.env
    if form.run_out:
        yield tx.micros


@lru_cache(maxsize=512)
def _statement(form: Form, count: int) -> str:
    given = table("given", tuple(form.given()), count)
    if form.deletes:
        return f"""{given} DELETE FROM oncetask_task WHERE sequence IN (
            SELECT t.sequence FROM given CROSS JOIN oncetask_task AS t INDEXED BY oncetask_task_id
            WHERE {" AND ".join(_conditions(form))}) RETURNING id, kind, resource_key"""
    return f"""{given} UPDATE oncetask_task AS t INDEXED BY oncetask_task_id SET {", ".join(_assignments(form))}
        FROM given WHERE {" AND ".join(_conditions(form))} RETURNING id, kind, resource_key"""


def _assignments(form: Form) -> Iterable[str]:
    yield from (f"{name} = given.new_{name}" for name in (*form.values, *form.times))
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
