"""Claiming: one statement takes the heads, a second one their groups; nobody waits for anybody's rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from oncetask_core.claims import Claim
from oncetask_core.limits import LOWEST_PRIORITY, MAX_ERROR_BYTES, clean_text
from oncetask_core.store import Claimed
from oncetask_core.task import PRIORITY_STEP
from oncetask_sql.codec import SELECTED, Row, Task, UnreadableRowError, decode_all, reasons
from oncetask_sql.grants import in_order, is_head
from oncetask_sql.keys import Key
from oncetask_sql.postgresql.arrays import numbers, texts
from oncetask_sql.postgresql.failures import unless_locked
from oncetask_sql.postgresql.seating import seat_keys
from oncetask_sql.postgresql.session import COMMIT, Session, Statement
from oncetask_sql.schema import CLAIMABLE, LIVE, LOW, READY, SUSPECT, WAITING_FOR_SEAT
from oncetask_sql.times import from_micros, micros_in, to_micros
from oncetask_sql.wording import Wording

_LONGEST_DELAY: Final = micros_in(-LOWEST_PRIORITY * PRIORITY_STEP)
"""How far behind its time the lowest priority puts a task in the claim order."""
_LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
"""The last time that can be read; a damaged row beyond it must not make claims fail."""
_LOOKAHEAD: Final = 64
"""How many tasks that cannot join a group are passed over to find those that can."""
_TRIES = 40
"""How often a request asks for its turn: an earlier one of the same claim may wait long for its commit."""

_RETURNED: Final = ", ".join(f"t.{name}" for name in SELECTED.split(", "))
_TAKE: Final = """UPDATE oncetask_task AS t SET lease_uid = %(lease)s, leased_by = %(leased_by)s,
    leased_until = :now + %(lease_for)s, started_at = :now, in_cleanup = t.is_cancelled, claims = t.claims + 1,
    revision = t.revision + 1, epoch = """
_NUMBER: Final = "nextval('oncetask_epoch')"
_SLOTS: Final = "unnest(%(kinds)s::text[], %(limits)s::bigint[]) AS slots (kind, most)"
_UNLESS_HELD: Final = """(%(again)s::bool OR NOT EXISTS (
    SELECT 1 FROM oncetask_task WHERE env = %(env)s AND lease_uid = %(lease)s))"""


def _heads(condition: str, *, most: str) -> str:
    return f"""{_TAKE} {_NUMBER} WHERE t.env = %(env)s AND t.id = ANY (ARRAY(
        SELECT due.id FROM {_SLOTS}, LATERAL (
            SELECT id FROM oncetask_task WHERE env = %(env)s AND kind = slots.kind AND {condition}
            ORDER BY order_at, sequence LIMIT {most} FOR NO KEY UPDATE SKIP LOCKED) AS due
        WHERE {_UNLESS_HELD})) RETURNING {_RETURNED}"""


_READY: Final = _heads(f"order_at <= :now AND wait_until <= :now AND {READY}", most="slots.most")
_LOW: Final = _heads(
    f"order_at > :now AND order_at <= :now + {_LONGEST_DELAY} AND wait_until <= :now AND {LOW}", most="slots.most"
)
_SUSPECT: Final = f"""{_TAKE} {_NUMBER} WHERE t.env = %(env)s AND t.id = (
    SELECT id FROM oncetask_task WHERE env = %(env)s AND kind = ANY (%(kinds)s::text[]) AND wait_until <= :now
    AND {SUSPECT} AND {CLAIMABLE} AND {_UNLESS_HELD}
    ORDER BY order_at, sequence LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) RETURNING {_RETURNED}"""
_JOINS: Final = f"{WAITING_FOR_SEAT} AND wait_until <= :now AND crashes = 0"
_JOINING: Final = "unnest(%(kinds)s::text[], %(joining)s::bigint[]) AS joining (kind, most)"


def _with_groups(heads: str) -> str:
    """Return a claim of heads together with whoever may join their groups: they wait for the same keys."""
    return f"""WITH heads AS ({heads}),
    near AS MATERIALIZED (
        SELECT heads.kind, heads.resource_key, joining.most, w.*
        FROM heads JOIN {_JOINING} ON heads.kind = joining.kind, LATERAL (
            SELECT id, seat_at, sequence, strict_order <> 0 AS strict, wait_until <= :now AND crashes = 0 AS joins
            FROM oncetask_task WHERE env = %(env)s AND kind = heads.kind AND resource_key = heads.resource_key
            AND {WAITING_FOR_SEAT} AND (wait_until <= :now OR strict_order <> 0)
            ORDER BY seat_at, sequence LIMIT joining.most + {_LOOKAHEAD}) AS w
        WHERE joining.most > 0),
    locked AS MATERIALIZED (
        SELECT id FROM oncetask_task WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM near WHERE joins))
        AND {_JOINS} FOR NO KEY UPDATE SKIP LOCKED),
    placed AS (
        SELECT near.*, locked.id IS NOT NULL AS taken, bool_or(strict AND locked.id IS NULL) OVER (
            PARTITION BY kind, resource_key ORDER BY seat_at, sequence ROWS UNBOUNDED PRECEDING) AS stopped
        FROM near LEFT JOIN locked ON locked.id = near.id),
    picked AS (
        SELECT id, kind, resource_key, most, row_number() OVER (
            PARTITION BY kind, resource_key ORDER BY seat_at, sequence) AS place
        FROM placed WHERE taken AND NOT stopped),
    numbered AS MATERIALIZED (
        SELECT id, {_NUMBER} AS number FROM (
            SELECT id FROM picked WHERE place <= most ORDER BY kind, resource_key, place) AS in_order),
    members AS (
        {_TAKE} numbered.number FROM numbered
        WHERE t.env = %(env)s AND t.id = ANY (ARRAY(SELECT id FROM numbered)) AND t.id = numbered.id
        RETURNING {_RETURNED})
    SELECT * FROM heads UNION ALL SELECT * FROM members"""


_READY_GROUPS: Final = _with_groups(_READY)
_LOW_GROUPS: Final = _with_groups(_LOW)
_HELD: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND lease_uid = %(lease)s"
_ALONE: Final = "SELECT pg_advisory_xact_lock(%(space)s::int, hashtext(%(lease)s))"
"""Repeated requests of one claim follow each other, so that the later ones see what the first was granted."""
_NEXT_DUE: Final = f"""SELECT min(due.wait_until) FROM unnest(%(kinds)s::text[]) AS slots (kind), LATERAL (
    SELECT wait_until FROM oncetask_task WHERE env = %(env)s AND kind = slots.kind AND wait_until > :now
    AND wait_until <= {_LATEST} AND {LIVE} AND lease_uid IS NULL AND quarantined IS NULL
    ORDER BY wait_until LIMIT 1) AS due"""
_NOW: Final = "SELECT :now"
_SET_ASIDE: Final = """UPDATE oncetask_task SET quarantined = %(reason)s, head_key = NULL, lease_uid = NULL,
    leased_by = NULL, leased_until = NULL WHERE env = %(env)s AND id = %(id)s AND lease_uid = %(lease)s
    RETURNING kind, resource_key"""


class _Asking:
    """One claim call and what it has been granted so far."""

    def __init__(self, session: Session, wording: Wording, asked: Claim) -> None:
        self._session = session
        self._wording = wording
        self._asked = asked
        self._granted: list[Task] = []
        self._unreadable: dict[str, str] = {}

    async def answer(self) -> Claimed:
        suspects, grows = self._asked.suspects, any(slots.group > 1 for slots in self._asked.slots.values())
        await self._take(_SUSPECT if suspects else _READY_GROUPS if grows else _READY)
        if self._granted and self._is_full():
            return self._reply(max(started(self._granted)))
        looks = [_NOW, _NEXT_DUE] if self._granted else [_NOW, _NEXT_DUE, _HELD]
        if suspects:
            replies = await self._session.batch([self._statement(sql) for sql in looks])
        else:
            replies = await self._take(_LOW_GROUPS if grows else _LOW, *looks)
        ((now,),), ((due,),), *held = replies
        if held and held[0] and not self._granted:
            return await self._repeated(held[0], now)
        due = None if due is None or self._is_full() else from_micros(due)
        return self._reply(max(started(self._granted), default=now), next_due=due)

    def _reply(self, now: int, *, next_due: datetime | None = None) -> Claimed:
        return Claimed(
            tasks=in_order(self._granted, self._asked),
            now=self._wording.time.seen(now),
            next_due=next_due,
            unreadable=self._unreadable,
        )

    async def _repeated(self, rows: Sequence[Row], now: int) -> Claimed:
        """Return what the lease holds already: an earlier request of the same claim was faster."""
        self._granted, faults = decode_all(rows)
        await self._set_aside(faults)
        return self._reply(now)

    async def _take(self, sql: str, *more: str) -> list[list[Row]]:
        """Take what is due until the slots are used, setting aside what cannot be read; return what `more` reads."""
        while True:
            statements = [self._statement(one) for one in (_ALONE, sql, *more)]
            _, rows, *replies = await self._in_turn(statements)
            tasks, faults = decode_all(rows)
            self._granted += tasks
            if not faults:
                return replies
            await self._set_aside(faults)

    async def _in_turn(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run a transaction behind earlier requests of the same claim: the only locks that it waits for are theirs."""
        return await unless_locked(lambda _: self._session.transaction(statements), tries=_TRIES)

    def _statement(self, sql: str) -> Statement:
        asked, free = self._asked, self._free()
        values: dict[str, Any] = {
            **self._wording.parameters(),
            "lease": asked.lease_uid,
            "leased_by": asked.leased_by,
            "lease_for": micros_in(asked.lease_for),
            "kinds": texts(free),
            "limits": numbers(free.values()),
            "joining": numbers(slots.group - 1 for slots in asked.slots.values()),
            "again": bool(self._granted or self._unreadable),
            "space": self._wording.names.lock_space ^ 1,
        }
        return self._wording.render(sql), values

    def _free(self) -> dict[str, int]:
        """Return how many calls of each kind can still be started."""
        used: dict[str, int] = {}
        for task in self._granted:
            if is_head(task):
                used[task.kind] = used.get(task.kind, 0) + 1
        return {kind: max(slots.limit - used.get(kind, 0), 0) for kind, slots in self._asked.slots.items()}

    def _is_full(self) -> bool:
        return bool(self._granted) if self._asked.suspects else not any(self._free().values())

    async def _set_aside(self, faults: Sequence[UnreadableRowError]) -> None:
        """Keep rows that cannot be read from holding up anybody: no claim sees them, and their keys are free."""
        self._unreadable |= reasons(faults)
        for fault in faults:
            values = {
                **self._wording.parameters(),
                "id": fault.task_id,
                "lease": self._asked.lease_uid,
                "reason": clean_text(fault.reason, MAX_ERROR_BYTES),
            }
            (rows,) = await self._session.begin([(self._wording.render(_SET_ASIDE), values)])
            keys = [Key(kind, key) for kind, key in rows if key is not None]
            await self._session.batch([*seat_keys(self._wording, keys, clears=True), COMMIT])


def started(tasks: Sequence[Task]) -> list[int]:
    """Return the times of the grants of tasks."""
    return [to_micros(task.started_at) for task in tasks if task.started_at is not None]


async def claim(session: Session, wording: Wording, asked: Claim) -> Claimed:
    """Lease due tasks; a lease that holds tasks already gets those again."""
    return await _Asking(session, wording, asked).answer()
