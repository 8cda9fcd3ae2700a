"""The tables, as SQLAlchemy Core describes them, and the conditions of their partial indexes.

Migrations create what stands here. Times are INTEGER microseconds since 1970-01-01T00:00Z, so that they compare
exactly and index well; `errors`, `settled_by`, `headers` and `recurrence` are JSON text.

History costs nothing, because every index that the hot statements use leaves finished tasks out:

- `id`: what a task is found by.
- `ready`: what an ordinary claim may take, in claim order. `low` holds the part of it with a priority below zero,
  the only one whose place in the order lies behind its time.
- `suspect`: unfinished tasks that crashed a worker; `generator`: unfinished generators.
- `leased`: what a lease holds, and what may have run out. The end of the lease is in no index: renewals touch none.
- `head`: the seats of the keys; `wait`: who may be seated next; `member`: leased tasks of a key beside its head.
- `live`: unfinished tasks by time: what is due next, and how many there are.
- `key`: every task of a key, for listings; `done`: finished tasks by age, for their removal.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BigInteger, Column, Computed, Index, Integer, MetaData, Table, Text, text

from oncetask_sql.times import to_micros

FIRST: Final = to_micros(datetime.min.replace(tzinfo=UTC))
"""Where tasks of a strict order stand in the order of their key: before every time, by creation alone."""

LIVE: Final = "outcome IS NULL"
FREE: Final = f"{LIVE} AND lease_uid IS NULL AND quarantined IS NULL"
CLAIMABLE: Final = f"{FREE} AND recurrence IS NULL AND (resource_key IS NULL OR head_key IS NOT NULL)"
READY: Final = f"{CLAIMABLE} AND crashes = 0"
LOW: Final = f"{READY} AND priority < 0"
SUSPECT: Final = f"{LIVE} AND crashes > 0"
GENERATOR: Final = f"{LIVE} AND recurrence IS NOT NULL"
WAITING_FOR_SEAT: Final = f"{FREE} AND recurrence IS NULL AND resource_key IS NOT NULL AND head_key IS NULL"
MEMBER: Final = "resource_key IS NOT NULL AND head_key IS NULL AND lease_uid IS NOT NULL"

Number: Final = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

tasks = Table(
    "oncetask_task",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("env", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("run_uid", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("wait_until", Number, nullable=False),
    Column("order_at", Number, nullable=False),
    Column("resource_key", Text),
    Column("strict_order", Number, nullable=False, server_default=text("0")),
    Column("head_key", Text),
    Column("queue", Text, nullable=False),
    Column("priority", Number, nullable=False, server_default=text("0")),
    Column("headers", Text, nullable=False, server_default=text("'{}'")),
    Column("lease_uid", Text),
    Column("leased_by", Text),
    Column("leased_until", Number),
    Column("epoch", Number, nullable=False, server_default=text("0")),
    Column("in_cleanup", Number, nullable=False, server_default=text("0")),
    Column("started_at", Number),
    Column("revision", Number, nullable=False, server_default=text("0")),
    Column("settled_by", Text, nullable=False, server_default=text("'[]'")),
    Column("claims", Number, nullable=False, server_default=text("0")),
    Column("failures", Number, nullable=False, server_default=text("0")),
    Column("crashes", Number, nullable=False, server_default=text("0")),
    Column("cleanup_attempts", Number, nullable=False, server_default=text("0")),
    Column("is_cancelled", Number, nullable=False, server_default=text("0")),
    Column("cancelled_at", Number),
    Column("done_at", Number),
    Column("outcome", Text),
    Column("result", Text),
    Column("errors", Text, nullable=False, server_default=text("'[]'")),
    Column("error_count", Number, nullable=False, server_default=text("0")),
    Column("progress", Text),
    Column("recurrence", Text),
    Column("slots_used", Number, nullable=False, server_default=text("0")),
    Column("parent_recurrence_id", Text),
    Column("occurrence_timestamp", Number),
    Column("quarantined", Text),
    Column("seat_at", Number, Computed(f"CASE WHEN strict_order THEN {FIRST} ELSE wait_until END", persisted=False)),
    sqlite_autoincrement=True,
)
"""`sequence` is never given twice, deleted tasks included. `quarantined` says why a claim could not read the row and
set it aside; set it to NULL once the row is repaired. `seat_at` is the task's place in the order of its key."""


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> None:
    condition = text(where)
    Index(f"oncetask_task_{name}", *(tasks.c[column] for column in columns), unique=unique, sqlite_where=condition)


Index("oncetask_task_id", tasks.c.env, tasks.c.id, unique=True)
_partial("ready", "env", "kind", "order_at", where=READY)
_partial("low", "env", "kind", "order_at", where=LOW)
_partial("suspect", "env", "kind", "order_at", where=SUSPECT)
_partial("generator", "env", "kind", "wait_until", where=GENERATOR)
_partial("leased", "env", "lease_uid", where="lease_uid IS NOT NULL")
_partial("head", "env", "kind", "head_key", where="head_key IS NOT NULL", unique=True)
_partial("wait", "env", "kind", "resource_key", "seat_at", where=WAITING_FOR_SEAT)
_partial("member", "env", "kind", "resource_key", where=MEMBER)
_partial("live", "env", "kind", "wait_until", where=LIVE)
_partial("key", "env", "resource_key", where="resource_key IS NOT NULL")
_partial("done", "env", "done_at", where="done_at IS NOT NULL")

meta = Table(
    "oncetask_meta",
    metadata,
    Column("one", Number, primary_key=True),
    Column("clock_at", Number, nullable=False),
    Column("epoch", Number, nullable=False),
)
"""One row: the latest time that a write used, before which the store's time never falls, and the last fence number."""

controls = Table(
    "oncetask_control",
    metadata,
    Column("env", Text, primary_key=True, nullable=False),
    Column("name", Text, primary_key=True, nullable=False),
    Column("value", Text),
    Column("revision", Number, nullable=False),
)
"""The control records; a removed one stays with the value NULL, so that its revisions never repeat."""

migrations = Table(
    "oncetask_migration",
    metadata,
    Column("version", Number, primary_key=True),
    Column("name", Text, nullable=False),
    Column("applied_at", Text, nullable=False, server_default=text("CURRENT_TIMESTAMP")),
)
"""Which migrations were applied."""
