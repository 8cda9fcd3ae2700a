"""Giving the seats of keys to whoever they belong to: `seats.rightful_head`, said in SQL.

The one writer of a SQLite file stands in for the stripes that other databases need.
"""

import json
from functools import lru_cache
from typing import Final

from oncetask_sql.schema import WAITING_FOR_SEAT
from oncetask_sql.sqlite.given import chunks, padded, parameters, table
from oncetask_sql.sqlite.transaction import Transaction

_NEXT: Final = f"""SELECT w.sequence FROM oncetask_task AS w INDEXED BY oncetask_task_wait
    WHERE w.env = ? AND w.kind = keys.kind AND w.resource_key = keys.key AND {WAITING_FOR_SEAT}
    ORDER BY w.seat_at, w.sequence LIMIT 1"""
_MEMBER: Final = """EXISTS (SELECT 1 FROM oncetask_task AS m INDEXED BY oncetask_task_member
    WHERE m.env = ? AND m.kind = keys.kind AND m.resource_key = keys.key
    AND m.resource_key IS NOT NULL AND m.head_key IS NULL AND m.lease_uid IS NOT NULL)"""
_STATE: Final = f"""SELECT head.sequence AS head, head.lease_uid IS NOT NULL AS head_leased, {_MEMBER} AS member,
    next.sequence AS next, (next.seat_at, next.sequence) < (head.seat_at, head.sequence) AS earlier
    FROM keys
    LEFT JOIN oncetask_task AS head INDEXED BY oncetask_task_head
        ON head.env = ? AND head.kind = keys.kind AND head.head_key = keys.key AND head.head_key IS NOT NULL
    LEFT JOIN oncetask_task AS next ON next.sequence = ({_NEXT})
    WHERE keys.kind IS NOT NULL"""
_CLEAR: Final = """UPDATE oncetask_task SET head_key = NULL
    WHERE sequence IN (SELECT value FROM json_each(?))"""
_SEAT: Final = """UPDATE oncetask_task SET head_key = resource_key
    WHERE sequence IN (SELECT value FROM json_each(?))"""


def seat(tx: Transaction) -> None:
    """Give the seat of every touched key to whoever it belongs to now; no revision moves.

    A task that is seated wrongly gives its seat up before another one gets it, for a key has one seat at a time.
    """
    wrong: list[int] = []
    rightful: list[int] = []
    for keys in chunks(tx.touched):
        given = [*parameters(keys), tx.env, tx.env, tx.env]
        for head, head_leased, member, following, earlier in tx.all(_state(padded(len(keys))), given):
            seated = head is not None and not head_leased
            if seated and (member or earlier):
                wrong.append(head)
            if following is not None and not member and (head is None or (seated and earlier)):
                rightful.append(following)
    tx.touched.clear()
    for sql, sequences in ((_CLEAR, wrong), (_SEAT, rightful)):
        if sequences:
            tx.all(sql, (json.dumps(sequences),))


@lru_cache(maxsize=32)
def _state(count: int) -> str:
    return f"{table('keys', ('kind', 'key'), count)} {_STATE}"
