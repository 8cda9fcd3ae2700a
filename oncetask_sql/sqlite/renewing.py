"""Renewing leases: one statement for each duration; who only asks writes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache

from oncetask_core.store import HeldLease, Renewed
from oncetask_sql.codec import Row
from oncetask_sql.sqlite.given import chunks, padded, parameters
from oncetask_sql.sqlite.transaction import Transaction
from oncetask_sql.times import micros_in

_REPLY = "id, run_uid, lease_uid, is_cancelled"


def renew(tx: Transaction, leases: Mapping[str, timedelta | None]) -> Renewed:
    """Extend what the leases hold, where a duration is given, and return all that they hold."""
    by_duration: dict[timedelta | None, list[str]] = defaultdict(list)
    for lease_uid, duration in leases.items():
        by_duration[duration].append(lease_uid)
    if any(duration is not None for duration in by_duration):
        tx.tick()
    else:
        tx.look()
    rows = [row for duration, uids in by_duration.items() for row in _held(tx, uids, duration)]
    return Renewed(held=[_lease(row) for row in rows], now=tx.now)


def _held(tx: Transaction, uids: Sequence[str], duration: timedelta | None) -> Iterable[Row]:
    for chunk in chunks(uids):
        given = [tx.env, *parameters([(uid,) for uid in chunk])]
        if duration is None:
            yield from tx.all(_ask(padded(len(chunk))), given)
        else:
            yield from tx.all(_extend(padded(len(chunk))), [tx.micros + micros_in(duration), *given])


def _lease(row: Row) -> HeldLease:
    task_id, run_uid, lease_uid, is_cancelled = row
    return HeldLease(id=task_id, run_uid=run_uid, lease_uid=lease_uid, cancel_requested=bool(is_cancelled))


@lru_cache(maxsize=16)
def _ask(count: int) -> str:
    return f"SELECT {_REPLY} FROM oncetask_task INDEXED BY oncetask_task_leased {_where(count)}"


@lru_cache(maxsize=16)
def _extend(count: int) -> str:
    return f"""UPDATE oncetask_task INDEXED BY oncetask_task_leased SET leased_until = max(leased_until, ?)
        {_where(count)} RETURNING {_REPLY}"""


def _where(count: int) -> str:
    return f"WHERE env = ? AND lease_uid IS NOT NULL AND lease_uid IN ({', '.join('?' * count)})"
