"""Giving the seats of keys to whoever they belong to: `seats.rightful_head`, under the keys' stripes.

A key belongs to one of 256 stripes, rows of a small table. All writes of a transaction come first; then it takes the
stripes of its keys in order, and each further statement sees what whoever had them before has committed. What it sees
is decided on here; rows are locked before they are written: those that get a seat which nobody has at once, others in a
further round trip, because a row is left to claims as long as it can be. Rows that somebody else has locked at that
moment are skipped, and their keys noted for later.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from asyncmy.errors import MySQLError

from oncetask_sql.codec import Row
from oncetask_sql.keys import Key
from oncetask_sql.mariadb.failures import is_locked
from oncetask_sql.mariadb.literals import Sql, Writing, literal
from oncetask_sql.mariadb.session import COMMIT, Session, Statement
from oncetask_sql.mariadb.statements import said
from oncetask_sql.schema import FREE, WAITING_FOR_SEAT
from oncetask_sql.wording import Wording

STRIPES: Final = 256
"""Those of keys; the table has as many again, for claims."""

LOCK_STRIPES: Final = """SELECT number FROM oncetask_stripe FORCE INDEX (PRIMARY)
    WHERE number IN (%(stripes)s) ORDER BY number FOR UPDATE"""
_FIRST: Final = """SELECT first.sequence FROM oncetask_task AS first FORCE INDEX (oncetask_task_wait)
        WHERE first.env = %(env)s AND first.kind = named.kind AND first.waiting_key = named.raw
        ORDER BY first.seat_at, first.sequence LIMIT 1"""
_MEMBER: Final = """SELECT 1 FROM oncetask_task AS m FORCE INDEX (oncetask_task_member)
            WHERE m.env = %(env)s AND m.kind = named.kind AND m.member_key = named.raw"""
_SEEN: Final = f"""SELECT named.kind, named.name, h.sequence, h.lease_uid IS NULL, w.sequence,
        h.sequence IS NOT NULL AND w.sequence IS NOT NULL AND (w.seat_at, w.sequence) < (h.seat_at, h.sequence),
        EXISTS ({_MEMBER})
    FROM (%(named)s) AS named
    LEFT JOIN oncetask_task AS h FORCE INDEX (oncetask_task_head)
        ON h.env = %(env)s AND h.kind = named.kind AND h.head_key = named.name
    LEFT JOIN oncetask_task AS w FORCE INDEX (oncetask_task_sequence) ON w.sequence = ({_FIRST})"""
_LOCK_FIRST: Final = f"""SELECT t.sequence FROM (
        SELECT ({_FIRST}) AS sequence FROM (%(named)s) AS named
        WHERE NOT EXISTS ({_MEMBER}) AND NOT EXISTS (
            SELECT 1 FROM oncetask_task AS h FORCE INDEX (oncetask_task_head)
            WHERE h.env = %(env)s AND h.kind = named.kind AND h.head_key = named.name)) AS due
    STRAIGHT_JOIN oncetask_task AS t FORCE INDEX (oncetask_task_sequence) ON t.sequence = due.sequence
    WHERE {WAITING_FOR_SEAT} FOR UPDATE SKIP LOCKED"""
"""The first of each key whose seat nobody has."""
_LOCK_HEADS: Final = f"""SELECT sequence FROM oncetask_task FORCE INDEX (oncetask_task_sequence)
    WHERE sequence IN (%(heads)s) AND {FREE} AND head_key IS NOT NULL FOR UPDATE SKIP LOCKED"""
_LOCK_NEXT: Final = f"""SELECT sequence FROM oncetask_task FORCE INDEX (oncetask_task_sequence)
    WHERE sequence IN (%(waiting)s) AND {WAITING_FOR_SEAT} FOR UPDATE SKIP LOCKED"""
_CLEAR: Final = (
    """UPDATE oncetask_task FORCE INDEX (oncetask_task_sequence) SET head_key = NULL WHERE sequence IN (%(rows)s)"""
)
_SEAT: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_sequence)
    SET head_key = resource_key WHERE sequence IN (%(rows)s)"""
_NOTE: Final = "INSERT INTO oncetask_later (env, kind, resource_key) VALUES "
NOTED: Final = "SELECT 1 FROM oncetask_later WHERE env = %(env)s"
_TAKE_NOTED: Final = """SELECT note, kind, resource_key FROM oncetask_later FORCE INDEX (oncetask_later_env)
    WHERE env = %(env)s ORDER BY note LIMIT 100 FOR UPDATE SKIP LOCKED"""
_FORGET: Final = "DELETE FROM oncetask_later WHERE note = %(note)s"
"""One at a time: of a few among few the server would read every row, and wait for what open transactions have noted."""


class _Seen(NamedTuple):
    """What is known of the seat of one key."""

    kind: str
    key: str
    head: int | None
    """The row that has the seat."""
    is_free: int
    """Whether that row is unleased."""
    waiting: int | None
    """The first row that could have it."""
    is_earlier: int
    """Whether that one comes before the row that has it."""
    has_member: int
    """Whether another row of the key is leased."""

    def frees(self) -> bool:
        """Return whether the seat has to be given up: it is another's, or nobody's."""
        return self.head is not None and bool(self.is_free) and bool(self.has_member or self.is_earlier)

    def seats(self) -> bool:
        """Return whether the first that waits gets the seat."""
        return self.waiting is not None and not self.has_member and (self.head is None or self.frees())


async def finish(
    session: Session, wording: Wording, *, writes: Sequence[Statement], keys: Collection[Key], clears: bool
) -> None:
    """Run the last writes of the transaction that is open, seat the keys that it touched, and commit.

    Args:
        session: In a transaction.
        wording: How statements are worded here.
        writes: Statements to be run first.
        keys: The keys.
        clears: Whether a task may have become earlier than the one that has the seat.
    """
    if not keys:
        await session.batch([*writes, COMMIT])
        return
    *_, shown, first = await session.batch([*writes, *looking(wording, keys)])
    await seat_seen(session, wording, shown=shown, first=first, clears=clears)


def looking(wording: Wording, keys: Collection[Key]) -> list[Statement]:
    """Return what takes the stripes of the keys, looks at their seats, and locks who gets those that are nobody's.

    The rows of the last two are for `seat_seen`.
    """
    ordered = sorted(set(keys))
    named = Sql(" UNION ALL ".join(_named(key) for key in ordered))
    stripes = sorted({_stripe(wording, key) for key in ordered})
    return [
        said(wording, LOCK_STRIPES, stripes=stripes),
        *(said(wording, sql, named=named) for sql in (_SEEN, _LOCK_FIRST)),
    ]


async def seat_seen(
    session: Session, wording: Wording, *, shown: Sequence[Row], first: Sequence[Row], clears: bool
) -> None:
    """Write the seats that follow from what `looking` has shown and locked, and commit."""
    seen = [_Seen(*row) for row in shown]
    freed = [one for one in seen if clears and one.frees()]
    seated = [one for one in seen if one.seats() and (one.head is None or one in freed)]
    if not freed and not seated:
        await session.batch([COMMIT])
        return
    locked = {sequence for (sequence,) in first}
    if freed:
        heads, waiting = await session.batch(
            [
                said(wording, _LOCK_HEADS, heads=[one.head for one in freed]),
                said(wording, _LOCK_NEXT, waiting=[one.waiting for one in seated if one.head is not None]),
            ]
        )
        locked |= {sequence for (sequence,) in (*heads, *waiting)}
    late = [one for one in freed if one.head not in locked]
    late += [one for one in seated if one.waiting not in locked or one in late]
    cleared = [one.head for one in freed if one not in late or one.head in locked]
    given = [one.waiting for one in seated if one not in late]
    noted = [Key(one.kind, one.key) for one in late]
    await session.batch([*_writing(wording, cleared=cleared, given=given, late=noted), COMMIT])


def _writing(
    wording: Wording, *, cleared: Sequence[int | None], given: Sequence[int | None], late: Sequence[Key]
) -> list[Statement]:
    statements: list[Statement] = []
    if cleared:
        statements.append(said(wording, _CLEAR, rows=cleared))
    if given:
        statements.append(said(wording, _SEAT, rows=given))
    if late:
        statements.append(noting(wording, late))
    return statements


def noting(wording: Wording, keys: Collection[Key], *, written: Writing = literal) -> Statement:
    """Return what has keys seated later."""
    return said(wording, _NOTE) + ", ".join(f"({written([wording.env, *key])})" for key in sorted(set(keys)))


async def seat_noted(session: Session, wording: Wording) -> None:
    """Seat the keys that were noted for later, by callers' transactions and where a row was locked.

    Where somebody holds their stripes for long they stay noted.
    """
    if not await session.rows(said(wording, f"{NOTED} LIMIT 1")):
        return
    try:
        (rows,) = await session.begin([said(wording, _TAKE_NOTED)])
        keys = {Key(kind, key) for _, kind, key in rows}
        forgetting = [said(wording, _FORGET, note=note) for note, _, _ in rows]
        await finish(session, wording, writes=forgetting, keys=keys, clears=True)
    except MySQLError as error:
        if not is_locked(error):
            raise


def _named(key: Key) -> str:
    name = literal(key.key)
    return f"SELECT {literal(key.kind)} AS kind, {name} AS name, CAST({name} AS BINARY) AS raw"


def _stripe(wording: Wording, key: Key) -> int:
    return crc32("\x1f".join((wording.env, *key)).encode()) % STRIPES
