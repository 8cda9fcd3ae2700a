"""Broken variants of PostgreSQL's key handling: each leaves one part of a rule out, and names what then goes wrong.

The rules, in short:

- K1: claims take what is keyless or has its key's seat, and take no stripe.
- K2: nobody is seated while a task of the key is held; else the earliest is, in strict order the oldest.
- K3: every path ends with the seat given; whatever ends a lease gives the seat up.
- K4: seats are given under the stripe of the key, which a statement of its own takes; another one clears before.
- K5: writes come first and may wait for rows; clearing and seating skip what is locked.
- K6: a group's claim gives the key up where another task of it is held, though its lease has run out.
- K7: nobody seats for an id that existed.
- K8: keys that need a later look are noted where no note waits for another, and the whole rule is applied to them.
- K9: stale holders change nothing, and no clock frees a key.

Three parts of the statements have no variant that could be seen, because others cover them:

- clearing that does not ask again whether the head is unleased: while it is held nobody is seated, with or without it;
- clearing where a task of the key is held: nobody is seated then in the first place;
- seating that looks at its task again: who changes one that waits has the stripe until the end, or its row locked.

That a write gives up waiting for a row is seen by `tests/servers/test_locking.py`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from oncetask_core.claims import Claim
from oncetask_core.decisions import ending
from oncetask_core.store import Claimed
from oncetask_core.transition import Patch
from oncetask_sql.codec import Row
from oncetask_sql.forms import Form
from oncetask_sql.postgresql import caller, claiming, seating, writes
from oncetask_sql.postgresql.session import Session, Statement
from oncetask_sql.schema import WAITING_FOR_SEAT
from oncetask_sql.wording import Wording
from tests.defects.planting import method_replaced, replaced
from tests.postgresql.interleaving import pausing, scenes
from tests.postgresql.interleaving.exploring import Scene
from tests.postgresql.world import connected, schema_of
from tests.races import planted

Plant = Callable[[str], AbstractContextManager[object]]
"""Plants a variant for the length of a block; told the URL of the tables."""


@dataclass(frozen=True)
class Variant:
    """One part of a rule left out, the scene that shows it, and what is wrong there."""

    name: str
    plant: Plant
    scene: Scene
    fault: str


def _said(original: str, *changes: tuple[str, str]) -> Plant:
    """Return what changes parts of a statement."""

    @contextlib.contextmanager
    def changing(_: str) -> Iterator[None]:
        changed = original
        for part, instead in changes:
            assert part in changed, part
            changed = changed.replace(part, instead)
        with replaced(original, changed):
            yield

    return changing


def _instead(original: object, replacement: object) -> Plant:
    return lambda _: replaced(original, replacement)


def _all(*plants: Plant) -> Plant:
    @contextlib.contextmanager
    def changing(url: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for plant in plants:
                stack.enter_context(plant(url))
            yield

    return changing


# K1, K2

_TAKES_STRIPES = _said(claiming._ALONE, ("hashtext(%(lease)s)", "7"))
_AS_SEEN = _said(pausing.BEFORE_MEMBERS, (f"AND {claiming._JOINS} FOR NO KEY", "FOR NO KEY"))
_BUSY_KEY = _said(seating._SEAT, (f" AND {seating._MEMBER} IS NULL", ""))
_BY_CREATION = _said(seating._SEAT, ("ORDER BY w.seat_at, w.sequence", "ORDER BY w.sequence"))
_NEVER_STRICT = _said(seating._SEAT, ("ORDER BY w.seat_at, w.sequence", "ORDER BY w.wait_until, w.sequence"))

# K3


def _no_statements(*_: object, **__: object) -> list[Statement]:
    """A path ends without a look at the seat."""
    return []


_NO_SEAT = _instead(seating.seat_keys, _no_statements)


def _keeps_seat() -> Patch:
    """The end of a lease leaves the seat where it was."""
    return Patch(lease_uid=None, leased_by=None, leased_until=None)


# K4

_NO_STATEMENT: Final = f"SELECT 1 FROM {seating._KEYS}"
_NO_STRIPES = _instead(seating._LOCK, _NO_STATEMENT)
"""Keys are seated without their locks."""
_NOTHING_CLEARED = _instead(seating._CLEAR, _NO_STATEMENT)
_LOCKED_TOO_LATE = _all(
    _NO_STRIPES,
    _said(
        seating._SEAT,
        ("WITH due", f"WITH stripes AS MATERIALIZED ({seating._LOCK}), due"),
        ("        WHERE (SELECT 1", "        WHERE (SELECT count FROM stripes) > 0 AND (SELECT 1"),
    ),
)
"""The stripe is taken by the statement that seats, whose snapshot is older than the lock."""

_AT_ONCE: Final = f"""WITH first AS MATERIALIZED (
        SELECT (SELECT w.id FROM oncetask_task AS w WHERE {seating._WAITING}
            ORDER BY w.seat_at, w.sequence LIMIT 1) AS id, keys.* FROM {seating._KEYS}
        WHERE {seating._MEMBER} IS NULL AND NOT EXISTS (
            SELECT FROM oncetask_task AS h WHERE h.env = %(env)s AND h.kind = keys.kind
            AND h.head_key = keys.key AND h.lease_uid IS NOT NULL)),
    cleared AS (
        UPDATE oncetask_task AS h SET head_key = NULL FROM first
        WHERE h.env = %(env)s AND h.kind = first.kind AND h.head_key = first.key AND h.id = ANY (ARRAY(
            SELECT id FROM oncetask_task WHERE head_key = first.key AND lease_uid IS NULL FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    UPDATE oncetask_task SET head_key = resource_key
    WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM first)) AND (SELECT count(*) FROM cleared) >= 0"""
_CLEARED_AT_ONCE = _all(_NOTHING_CLEARED, _instead(seating._SEAT, _AT_ONCE))

# K5


async def _stripes_first(session: Session, statements: Sequence[Statement]) -> list[list[Row]]:
    """A transaction takes the stripes of its keys before it writes."""
    order = sorted(range(len(statements)), key=lambda number: "pg_advisory" not in statements[number][0])
    replies = await session.batch([("BEGIN", {}), *(statements[number] for number in order), ("COMMIT", {})])
    return [rows for _, rows in sorted(zip(order, replies[1:-1], strict=True))]


_SEAT_WAITS = _said(seating._SEAT, (" SKIP LOCKED", ""))
_CLAIM_WAITS = _said(claiming._READY, (" SKIP LOCKED", ""))
_CLEAR_WAITS = _said(seating._CLEAR, (" SKIP LOCKED", ""))

# K6

_END: Final = """UPDATE oncetask_task SET lease_uid = NULL, leased_by = NULL, leased_until = NULL, head_key = NULL
    WHERE env = %(env)s AND id = ANY (ARRAY(SELECT id FROM oncetask_task WHERE env = %(env)s
        AND leased_until <= :now FOR UPDATE SKIP LOCKED))"""
_TAKE: Final = f"""UPDATE oncetask_task SET head_key = resource_key WHERE env = %(env)s AND id = (
    SELECT w.id FROM oncetask_task AS w WHERE w.env = %(env)s AND {WAITING_FOR_SEAT} AND NOT EXISTS (
        SELECT FROM oncetask_task AS h WHERE h.env = %(env)s AND h.head_key = w.resource_key)
    ORDER BY w.seat_at, w.sequence LIMIT 1 FOR UPDATE SKIP LOCKED)"""


_claim = claiming.claim


async def _takes_over(session: Session, wording: Wording, asked: Claim) -> Claimed:
    """A group's claim ends leases that have run out, passing over locked ones, and takes the key."""
    await session.transaction([(wording.render(sql), wording.parameters()) for sql in (_END, _TAKE)])
    return await _claim(session, wording, asked)


# K8

_SEAT_FORGETS = _said(seating._SEAT, ("id NOT IN (SELECT id FROM seated)", "FALSE"))
_CLEAR_FORGETS = _said(seating._CLEAR, ("WHERE id NOT IN (SELECT id FROM cleared)", "WHERE FALSE"))
_CALLER_FORGETS = _said(caller._NOTED, ("WHERE resource_key IS NOT NULL", "WHERE FALSE"))


def _never_clears(wording: Wording, keys: Any, *, clears: bool) -> list[Statement]:
    """A poll seats what has no seat, and does not look who comes first."""
    del clears
    return _seat_keys(wording, keys, clears=False)


_seat_keys = seating.seat_keys


@contextlib.contextmanager
def _noted_once(url: str) -> Iterator[None]:
    """Each key is noted once."""
    index = f"{schema_of(url)}.noted_once"
    with connected() as connection, replaced(caller._NOTED, f"{_BEFORE} ON CONFLICT DO NOTHING) {_AFTER}"):
        table = f"{schema_of(url)}.oncetask_later"
        connection.execute(f"CREATE UNIQUE INDEX noted_once ON {table} (env, kind, resource_key)".encode())
        yield
        connection.execute(f"DROP INDEX {index}".encode())


_BEFORE, _, _AFTER = caller._NOTED.rpartition(")")

# K9

_conditions = writes._conditions


def _no_lease(form: Form, *, waits: bool) -> Iterator[str]:
    """Whoever writes is believed to be the holder."""
    yield from _conditions(form._replace(lease=False, epoch=False, revision=False), waits=waits)


@contextlib.contextmanager
def _unguarded(_: str) -> Iterator[None]:
    with replaced(writes._conditions, _no_lease):
        writes._sql.cache_clear()
        yield
    writes._sql.cache_clear()


_BY_THE_CLOCK = _said(seating._SEAT, ("m.lease_uid IS NOT NULL", "m.leased_until > :now"))

_HELD_AND_SEATED: Final = "the seat belongs to [] and not to"
_NOBODY_SEATED: Final = "and not to []"
_WAITS: Final = "waits for a row while it has the stripe of a key"

VARIANTS: Final[Mapping[str, Sequence[Variant]]] = {
    "K1": [
        Variant(
            "a claim does not ask for the seat",
            lambda _: planted.claims_without_seats(),
            scenes.TWO_CLAIMS,
            "two leases hold the key",
        ),
        Variant("claims take a stripe", _TAKES_STRIPES, scenes.TWO_CLAIMS, "has to wait for somebody"),
        *(
            Variant(f"members are taken as they were seen: {what}", _AS_SEEN, pausing.PAUSED[name], fault)
            for what, name, fault in (
                ("ended", "before members are locked, cancel a member", "b has ended and is held"),
                ("not due", "before members are locked, put a member off", "b is held before its time"),
            )
        ),
    ],
    "K2": [
        Variant("a key that is held is seated", _BUSY_KEY, scenes.MEMBER_BESIDE_CLAIM, _HELD_AND_SEATED),
        Variant("the oldest is seated", _BY_CREATION, scenes.PATHS["retry"], "belongs to ['b'] and not to ['a']"),
        Variant(
            "no order is strict",
            _NEVER_STRICT,
            scenes.PATHS["retry in strict order"],
            "belongs to ['a'] and not to ['b']",
        ),
    ],
    "K3": [
        *(
            Variant(f"nobody is seated after: {name}", _NO_SEAT, scene, "the seat belongs to")
            for name, scene in scenes.PATHS.items()
        ),
        Variant(
            "the end of a lease keeps the seat",
            _instead(ending.unleased, _keeps_seat),
            scenes.PATHS["retry"],
            "belongs to ['b'] and not to ['a']",
        ),
    ],
    "K4": [
        Variant("no stripes, two ends", _NO_STRIPES, scenes.MEMBERS_TOGETHER, _NOBODY_SEATED),
        Variant("no stripes, end and create", _NO_STRIPES, scenes.CREATE_BESIDE_REPORT, _NOBODY_SEATED),
        Variant("stripes in the seating statement", _LOCKED_TOO_LATE, scenes.MEMBERS_TOGETHER, _NOBODY_SEATED),
        Variant("nothing is cleared", _NOTHING_CLEARED, scenes.EARLIER_BESIDE_CLAIM, "belongs to ['a'] and not to"),
        Variant("cleared by the seating statement", _CLEARED_AT_ONCE, scenes.EARLIER_BESIDE_CLAIM, _HELD_AND_SEATED),
    ],
    "K5": [
        Variant(
            "stripes before writes",
            lambda _: method_replaced(Session, "transaction", _stripes_first),
            scenes.ENDING_IS_LOCKED,
            _WAITS,
        ),
        Variant("seating waits for rows", _SEAT_WAITS, scenes.NEXT_IS_LOCKED, _WAITS),
        Variant("clearing waits for rows", _CLEAR_WAITS, scenes.HEAD_IS_LOCKED, _WAITS),
        Variant("claiming waits for rows", _CLAIM_WAITS, scenes.TWO_CLAIMS, "has to wait for somebody"),
    ],
    "K6": [
        Variant(
            "a group's claim takes over what it can",
            _instead(claiming.claim, _takes_over),
            scenes.GROUP_RUNS_OUT,
            _HELD_AND_SEATED,
        )
    ],
    "K7": [
        Variant(
            "seats are taken for ids that exist",
            lambda _: planted.seats_for_ids_that_exist(),
            scenes.CREATED_AGAIN,
            _NOBODY_SEATED,
        )
    ],
    "K8": [
        Variant("seating forgets what it skips", _SEAT_FORGETS, scenes.NEXT_IS_LOCKED, _NOBODY_SEATED),
        Variant("clearing forgets what it skips", _CLEAR_FORGETS, scenes.HEAD_IS_LOCKED, "belongs to ['a'] and not to"),
        Variant("callers note nothing", _CALLER_FORGETS, scenes.OWN_BESIDE_CLAIM, "belongs to ['a'] and not to"),
        Variant("polls clear nothing", _instead(seating.seat_keys, _never_clears), scenes.OWN_BESIDE_CLAIM, "['a']"),
        Variant("each key is noted once", _noted_once, scenes.TWO_CALLERS, "has to wait for somebody"),
    ],
    "K9": [
        Variant("whoever reports is believed", _unguarded, scenes.LATE_HOLDER, "a is ended twice"),
        Variant("the clock frees a key", _BY_THE_CLOCK, scenes.MEMBER_BESIDE_CLAIM, _HELD_AND_SEATED),
    ],
}
"""By rule."""
