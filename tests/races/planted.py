"""Mistakes in the handling of keys, planted in the stores on servers for the length of a block."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted
from oncetask_sql.keys import keys_of
from oncetask_sql.mariadb import inserting as on_mariadb
from oncetask_sql.mariadb import seating as seating_on_mariadb
from oncetask_sql.mariadb.session import Session
from oncetask_sql.mariadb.statements import said
from oncetask_sql.postgresql import inserting as on_postgresql
from oncetask_sql.wording import Wording
from tests.defects.planting import replaced
from tests.postgresql.interleaving import variants

_VACATE: Final = """UPDATE oncetask_task FORCE INDEX (oncetask_task_head) SET head_key = NULL
    WHERE env = %(env)s AND kind IN (%(kinds)s) AND head_key IN (%(keys)s) AND lease_uid IS NULL"""

_insert = on_mariadb.insert


async def _takes_seats_first(session: Session, wording: Wording, tasks: Sequence[NewTask]) -> list[Inserted]:
    """A create takes the seats of its keys for the tasks that it is asked for, whether or not they come to exist."""
    keys = sorted(keys_of(tasks))
    vacate = said(wording, _VACATE, kinds=[key.kind for key in keys], keys=[key.key for key in keys])
    stripes, *_ = seating_on_mariadb.looking(wording, keys)
    await session.transaction([stripes, vacate])
    return await _insert(session, wording, tasks)


@contextmanager
def seats_for_ids_that_exist() -> Iterator[None]:
    """Seats are taken for tasks that are then not created."""
    with (
        replaced(on_postgresql._insert_some, variants.takes_seats_first),
        replaced(_insert, _takes_seats_first),
    ):
        yield


@contextmanager
def no_stripes() -> Iterator[None]:
    """Keys on MariaDB are seated without their locks."""
    unlocked = seating_on_mariadb.LOCK_STRIPES.replace(" FOR UPDATE", "")
    with replaced(seating_on_mariadb.LOCK_STRIPES, unlocked):
        yield


def claims_without_seats() -> AbstractContextManager[object]:
    """Claims on PostgreSQL take what is due, seated or not."""
    return variants.UNSEATED("")
