"""Mistakes in the handling of keys, planted in the stores on servers for the length of a block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.keys import keys_of
from oncetask_sql.mariadb import inserting as on_mariadb
from oncetask_sql.mariadb import seating as seating_on_mariadb
from oncetask_sql.mariadb.session import Session
from oncetask_sql.mariadb.statements import said
from oncetask_sql.postgresql import claiming
from oncetask_sql.postgresql import inserting as on_postgresql
from oncetask_sql.postgresql import seating as seating_on_postgresql
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.session import Session as PostgresqlSession
from oncetask_sql.wording import Wording
from tests.defects.planting import replaced

_VACATE_ON_MARIADB: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_head) SET head_key = NULL
    WHERE env = %(env)s AND kind IN (%(kinds)s) AND head_key IN (%(keys)s) AND lease_uid IS NULL"""

_VACATE_ON_POSTGRESQL: Final = f"""UPDATE oncetask_task SET head_key = NULL WHERE env = %(env)s AND lease_uid IS NULL
    AND (kind, head_key) IN (SELECT * FROM {seating_on_postgresql._KEYS})"""
_OCCUPY: Final = seating_on_postgresql._SEAT.replace(
    " ORDER BY w.seat_at", " AND w.id = ANY (%(ids)s::text[]) ORDER BY w.seat_at"
)


async def _takes_seats_first_on_postgresql(
    session: PostgresqlSession, wording: Wording, tasks: Sequence[NewTask], *, tries: int = 1
) -> set[str]:
    """A create takes the seats of its keys for the tasks that it is asked for, whether or not they come to exist."""
    del tries
    keys = sorted(keys_of(tasks))
    named = {"kinds": texts(key.kind for key in keys), "keys": texts(key.key for key in keys)}
    ids = texts(new.id for new in tasks)
    values = {**wording.parameters(), **named, "ids": ids, "space": wording.names.lock_space}
    seats = [(wording.render(sql), values) for sql in (seating_on_postgresql._LOCK, _VACATE_ON_POSTGRESQL, _OCCUPY)]
    return {task_id for (task_id,) in (await session.transaction([on_postgresql.insertion(wording, tasks), *seats]))[0]}


_insert = on_mariadb.insert


async def _takes_seats_first_on_mariadb(session: Session, wording: Wording, tasks: Sequence[NewTask]) -> list[Inserted]:
    """A create takes the seats of its keys for the tasks that it is asked for, whether or not they come to exist."""
    keys = sorted(keys_of(tasks))
    vacate = said(wording, _VACATE_ON_MARIADB, kinds=[key.kind for key in keys], keys=[key.key for key in keys])
    stripes, *_ = seating_on_mariadb.looking(wording, keys)
    await session.transaction([stripes, vacate])
    return await _insert(session, wording, tasks)


@contextmanager
def seats_for_ids_that_exist() -> Iterator[None]:
    """Seats are taken for tasks that are then not created."""
    with (
        replaced(on_postgresql._insert_some, _takes_seats_first_on_postgresql),
        replaced(_insert, _takes_seats_first_on_mariadb),
    ):
        yield


@contextmanager
def no_stripes() -> Iterator[None]:
    """Keys on MariaDB are seated without their locks."""
    unlocked = seating_on_mariadb.LOCK_STRIPES.replace(" FOR UPDATE", "")
    with replaced(seating_on_mariadb.LOCK_STRIPES, unlocked):
        yield


@contextmanager
def claims_without_seats() -> Iterator[None]:
    """Claims on PostgreSQL take what is due, seated or not."""
    seated = "(resource_key IS NULL OR head_key IS NOT NULL)"
    assert seated in claiming._READY
    with replaced(claiming._READY, claiming._READY.replace(seated, "TRUE")):
        yield
