"""Statements of writes that share a form, which the server plans once.

The guards stand in the WHERE; what they refuse is judged afterwards by the specification.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from oncetask_sql.codec import NUMERIC
from oncetask_sql.forms import Form, Write
from oncetask_sql.postgresql.arrays import columns, numbers, texts
from oncetask_sql.postgresql.session import Statement
from oncetask_sql.wording import Wording

_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Encoded against this time, a time that is relative to the store's becomes the distance to it."""


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
    names = tuple(form.given())
    cells = columns([form.row(one, now=_ZERO) for one in ordered])
    values = {
        name: (numbers if name in _NUMBERS else texts)(column)  # type: ignore[arg-type]  # the codec's types
        for name, column in zip(names, cells, strict=True)
    }
    return wording.render(_sql(form, waits)), {**wording.parameters(), **values}


_NUMBERS: Final = frozenset({"epoch", "revision", *(f"new_{name}" for name in NUMERIC)})


@lru_cache(maxsize=512)
def _sql(form: Form, waits: bool) -> str:  # noqa: FBT001 - a cache key
    names = tuple(form.given())
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
