"""Guarded writes of single tasks, as many as share a form in one statement.

The form of a write is which guards it names and which fields it sets. Forms are few, so each has a statement that
the server plans once. The guards stand in the WHERE; what they refuse is judged afterwards by the specification.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from oncetask_core.task import StoreNow
from oncetask_core.transition import Guard, Transition
from oncetask_sql.codec import NUMERIC, encode
from oncetask_sql.postgresql.arrays import columns, numbers, texts
from oncetask_sql.postgresql.session import Statement
from oncetask_sql.wording import Wording

_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Encoded against this time, a time that is relative to the store's becomes the distance to it."""


class Write(NamedTuple):
    """One guarded change of one task."""

    guard: Guard
    transition: Transition | None
    """None deletes the task."""


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
    times: tuple[str, ...]
    """The fields that are set to a time relative to the store's."""
    nulls: tuple[str, ...]
    """The fields that are cleared."""


def change(transition: Transition) -> Write:
    """Return the write of a transition."""
    return Write(transition.guard, transition)


def grouped(writes: Sequence[Write]) -> list[tuple[Form, list[int]]]:
    """Return which writes have which form."""
    forms: dict[Form, list[int]] = {}
    for position, one in enumerate(writes):
        forms.setdefault(_form(one), []).append(position)
    return list(forms.items())


def statement(wording: Wording, form: Form, writes: Sequence[Write], *, waits: bool = True) -> Statement:
    """Return the statement that writes changes of one form, of different tasks; it returns id, kind and key of each.

    Args:
        wording: How statements are worded here.
        form: Their form.
        writes: The changes.
        waits: Whether to wait for rows that somebody else has locked; otherwise they are left as they are.

    Raises:
        ValueError: A value cannot be stored.
        OverflowError: A time lies outside the years 1 to 9999.
    """
    ordered = sorted(writes, key=lambda one: one.guard.id)
    names = tuple(_given(form))
    cells = columns([_row(form, one) for one in ordered])
    values = {
        name: (numbers if name in _NUMBERS else texts)(column)  # type: ignore[arg-type]  # the codec's types
        for name, column in zip(names, cells, strict=True)
    }
    return wording.render(_sql(form, waits)), {**wording.parameters(), **values}


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
        values=tuple([name for name, value in fields if value is not None and not isinstance(value, StoreNow)]),
        times=tuple([name for name, value in fields if isinstance(value, StoreNow)]),
        nulls=tuple([name for name, value in fields if value is None]),
    )


def _given(form: Form) -> Iterable[str]:
    yield from ("id", "run_uid")
    yield from (name for name in ("lease", "epoch", "revision") if getattr(form, name))
    yield from (f"new_{name}" for name in (*form.values, *form.times))


_NUMBERS: Final = frozenset({"epoch", "revision", *(f"new_{name}" for name in NUMERIC)})


def _row(form: Form, one: Write) -> list[object]:
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
        fields = (*form.values, *form.times)
        row.extend(encode(name, patch[name], _ZERO) for name in fields)  # type: ignore[literal-required]  # of Patch
    return row


@lru_cache(maxsize=512)
def _sql(form: Form, waits: bool) -> str:  # noqa: FBT001 - a cache key
    names = tuple(_given(form))
    arrays = ", ".join(f"%({name})s::{'bigint' if name in _NUMBERS else 'text'}[]" for name in names)
    given = f"unnest({arrays}) AS given ({', '.join(names)})"
    where = " AND ".join(_conditions(form, waits=waits))
    returned = "RETURNING t.id, t.kind, t.resource_key"
    if form.deletes:
        return f"DELETE FROM oncetask_task AS t USING {given} WHERE {where} {returned}"
    return f"UPDATE oncetask_task AS t SET {', '.join(_assignments(form))} FROM {given} WHERE {where} {returned}"


def _assignments(form: Form) -> Iterable[str]:
    yield from (f"{name} = given.new_{name}" for name in form.values)
    yield from (f"{name} = :now + given.new_{name}" for name in form.times)
    yield from (f"{name} = NULL" for name in form.nulls)
    if form.bumps_revision:
        yield "revision = t.revision + 1"


def _conditions(form: Form, *, waits: bool) -> Iterable[str]:
    yield "t.env = %(env)s AND t.id = given.id AND t.run_uid = given.run_uid"
    if form.lease:
        yield "t.lease_uid IS NOT DISTINCT FROM given.lease"
    if form.epoch:
        yield "t.epoch = given.epoch"
    if form.revision:
        yield "t.revision = given.revision"
    if form.run_out:
        yield "t.leased_until <= :now"
    if not waits:
        yield """t.id = ANY (ARRAY(SELECT id FROM oncetask_task
            WHERE env = %(env)s AND id = ANY (%(id)s::text[]) FOR NO KEY UPDATE SKIP LOCKED))"""
