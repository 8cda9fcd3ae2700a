"""Giving the seats of keys to whoever they belong to: `seats.rightful_head`, said in SQL, under the keys' stripes.

A key belongs to one of 256 stripes, each an advisory lock of the transaction. All writes of a transaction come
first; then it takes the stripes of its keys in order, and each further statement sees what whoever had them before
has committed. Rows that somebody else has locked at that moment are skipped, and their keys noted for later.
"""

import contextlib
from collections.abc import Collection
from typing import Final

from oncetask_sql.keys import Key
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.failures import LOCKED
from oncetask_sql.postgresql.session import COMMIT, Session, Statement
from oncetask_sql.schema import WAITING_FOR_SEAT
from oncetask_sql.wording import Wording

STRIPES: Final = 256
PATIENCE: Final = "1s"
"""How long stripes are waited for. Whoever has them waits for its commit alone, which a slow disk or a synchronous
replica may hold up for longer than a write waits for a row."""
_KEYS: Final = "unnest(%(kinds)s::text[], %(keys)s::text[]) AS keys (kind, key)"

_NOTED: Final = "SELECT EXISTS (SELECT 1 FROM oncetask_later WHERE env = %(env)s)"
_BE_PATIENT: Final = f"SELECT set_config('lock_timeout', '{PATIENCE}', true)"
_LOCK: Final = f"""SELECT count(pg_advisory_xact_lock(%(space)s::int, stripe)) FROM (
    SELECT DISTINCT abs(hashtext(%(env)s || chr(31) || keys.kind || chr(31) || keys.key) % {STRIPES}) AS stripe
    FROM {_KEYS} ORDER BY 1) AS stripes""".replace("% 256", "%% 256")
_WAITING: Final = f"w.env = %(env)s AND w.kind = keys.kind AND w.resource_key = keys.key AND {WAITING_FOR_SEAT}"
_MEMBER: Final = """(SELECT 1 FROM oncetask_task AS m WHERE m.env = %(env)s AND m.kind = keys.kind
    AND m.resource_key = keys.key AND m.resource_key IS NOT NULL AND m.head_key IS NULL
    AND m.lease_uid IS NOT NULL LIMIT 1)"""
_CLEAR: Final = f"""WITH wrong AS MATERIALIZED (
        SELECT h.id, h.kind, h.head_key FROM {_KEYS}, LATERAL (
            SELECT id, kind, head_key, seat_at, sequence, lease_uid FROM oncetask_task
            WHERE env = %(env)s AND kind = keys.kind AND head_key = keys.key LIMIT 1) AS h
        WHERE h.lease_uid IS NULL AND ({_MEMBER} IS NOT NULL OR (h.seat_at, h.sequence) > (
            SELECT w.seat_at, w.sequence FROM oncetask_task AS w WHERE {_WAITING}
            ORDER BY w.seat_at, w.sequence LIMIT 1))),
    locked AS MATERIALIZED (
        SELECT id FROM oncetask_task WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM wrong))
        AND lease_uid IS NULL AND head_key IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED),
    cleared AS (
        UPDATE oncetask_task SET head_key = NULL
        WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM locked)) RETURNING id)
    INSERT INTO oncetask_later (env, kind, resource_key)
    SELECT %(env)s, kind, head_key FROM wrong WHERE id NOT IN (SELECT id FROM cleared)"""
_SEAT: Final = f"""WITH due AS MATERIALIZED (
        SELECT keys.kind, keys.key, (
            SELECT w.id FROM oncetask_task AS w WHERE {_WAITING} ORDER BY w.seat_at, w.sequence LIMIT 1) AS id
        FROM {_KEYS}
        WHERE (SELECT 1 FROM oncetask_task AS h WHERE h.env = %(env)s AND h.kind = keys.kind
            AND h.head_key = keys.key LIMIT 1) IS NULL AND {_MEMBER} IS NULL),
    locked AS MATERIALIZED (
        SELECT id FROM oncetask_task WHERE env = %(env)s
        AND id = ANY (ARRAY(SELECT id FROM due WHERE id IS NOT NULL)) AND {WAITING_FOR_SEAT}
        FOR NO KEY UPDATE SKIP LOCKED),
    seated AS (
        UPDATE oncetask_task SET head_key = resource_key
        WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM locked)) RETURNING id)
    INSERT INTO oncetask_later (env, kind, resource_key)
    SELECT %(env)s, kind, key FROM due WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM seated)"""
_TAKE_NOTED: Final = """DELETE FROM oncetask_later WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM oncetask_later WHERE env = %(env)s LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING kind, resource_key"""


def seat_keys(wording: Wording, keys: Collection[Key], *, clears: bool) -> list[Statement]:
    """Return the statements that end a transaction which touched these keys; without a key there is none.

    Args:
        wording: How statements are worded here.
        keys: The keys.
        clears: Whether a task may have become earlier than the one that has the seat.
    """
    if not keys:
        return []
    ordered = sorted(set(keys))
    given = {"kinds": texts(key.kind for key in ordered), "keys": texts(key.key for key in ordered)}
    values = {**wording.parameters(), **given, "space": wording.names.lock_space}
    parts = (_BE_PATIENT, _LOCK, _CLEAR, _SEAT) if clears else (_BE_PATIENT, _LOCK, _SEAT)
    return [(wording.render(part), values) for part in parts]


async def seat_noted(session: Session, wording: Wording) -> None:
    """Seat the keys that were noted for later, by callers' transactions and where a row was locked.

    Where somebody holds their stripes for long they stay noted.
    """
    if not (await session.rows(wording.render(_NOTED), wording.parameters()))[0][0]:
        return
    with contextlib.suppress(*LOCKED):
        (rows,) = await session.begin([(wording.render(_TAKE_NOTED), wording.parameters())])
        keys = {Key(kind, key) for kind, key in rows}
        await session.batch([*seat_keys(wording, keys, clears=True), COMMIT])
