"""Filters of listings as SQLAlchemy expressions: `query.matches`, said in SQL.

The conditions of partial indexes appear as they stand in the schema, without bound values, so that databases
recognise them.
"""

from collections.abc import Collection, Iterator
from typing import Final

from sqlalchemy import ColumnElement, and_, literal_column, not_, or_

from oncetask_core.errors import ConfigurationError
from oncetask_core.query import TaskFilter
from oncetask_core.status import FINAL, TaskStatus
from oncetask_sql.schema import tasks
from oncetask_sql.times import to_micros

MOST_VALUES: Final = 10_000
"""How many ids or kinds a filter may name: databases bound the values of a statement."""

_t = tasks.c
_Condition = ColumnElement[bool]
_LIVE: Final[_Condition] = _t.outcome.is_(None)
_SUSPECT: Final[_Condition] = _t.crashes > literal_column("0")
_GENERATOR: Final[_Condition] = _t.recurrence.is_not(None)
_NOTHING: Final[_Condition] = _t.kind.in_(())
"""Never holds; SQLAlchemy's own `false` swallows the conditions beside it, those of the indexes included."""
_CANCELLED: Final[_Condition] = _t.is_cancelled == literal_column("1")


def condition(where: TaskFilter, *, env: str, now: int) -> _Condition:
    """Return the condition that holds for the rows that `where` means.

    Args:
        where: The filter.
        env: The environment.
        now: The store's time in microseconds.

    Raises:
        ConfigurationError: The filter names more than 10,000 ids or kinds.
    """
    return and_(_t.env == env, *_names(where), *_flags(where), *_times(where), *_states(where, now))


def needs_live(where: TaskFilter) -> bool:
    """Return whether only unfinished tasks can match."""
    only_live = where.statuses is not None and not where.statuses & FINAL
    return bool(where.live) or bool(where.due) or only_live


def _names(where: TaskFilter) -> Iterator[_Condition]:
    if where.ids is not None:
        yield _among(_t.id, where.ids)
    if where.kinds is not None:
        yield _among(_t.kind, where.kinds)
    if where.resource_key is not None:
        yield _t.resource_key == where.resource_key
    if where.queue is not None:
        yield _t.queue == where.queue
    if where.parent_recurrence_id is not None:
        yield _t.parent_recurrence_id == where.parent_recurrence_id


def _among(column: ColumnElement[str], values: Collection[str]) -> _Condition:
    if len(values) > MOST_VALUES:
        raise ConfigurationError(
            value=len(values),
            rule=f"a filter names at most {MOST_VALUES} ids or kinds",
            remedy="Ask for them in several calls.",
        )
    return column.in_(sorted(values))


def _flags(where: TaskFilter) -> Iterator[_Condition]:
    if needs_live(where):
        yield _LIVE
    for wanted, holds in ((where.live, _LIVE), (where.generators, _GENERATOR), (where.suspects, _SUSPECT)):
        if wanted is not None:
            yield holds if wanted else not_(holds)


def _times(where: TaskFilter) -> Iterator[_Condition]:
    if where.created_from is not None:
        yield _t.created_at >= to_micros(where.created_from)
    if where.created_before is not None:
        yield _t.created_at < to_micros(where.created_before)
    if where.done_before is not None:
        yield _t.done_at < to_micros(where.done_before)


def _states(where: TaskFilter, now: int) -> Iterator[_Condition]:
    is_free = or_(_t.leased_until.is_(None), _t.leased_until <= now)
    if where.statuses is not None:
        yield or_(_NOTHING, *(_has(status, is_free=is_free, now=now) for status in sorted(where.statuses)))
    if where.due is True:
        yield and_(_t.wait_until <= now, is_free)
    if where.due is False:
        yield or_(not_(_LIVE), _t.wait_until > now, not_(is_free))
    if where.run_out is True:
        yield and_(_t.lease_uid.is_not(None), _t.leased_until <= now)
    if where.run_out is False:
        yield or_(_t.leased_until.is_(None), _t.leased_until > now)


def _has(status: TaskStatus, *, is_free: _Condition, now: int) -> _Condition:
    if status in FINAL:
        return _t.outcome == status.value
    if status is TaskStatus.CANCELLATION_PENDING:
        return and_(_LIVE, _CANCELLED)
    stays = and_(_LIVE, not_(_CANCELLED))
    if status is TaskStatus.LEASED:
        return and_(stays, _t.leased_until > now)
    waits = _t.wait_until > now
    return and_(stays, is_free, waits if status is TaskStatus.WAITING else not_(waits))
