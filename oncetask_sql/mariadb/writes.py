"""Guarded writes of single tasks: a row is locked and read, its guard is judged, and then it is written.

A guard that holds on a locked row holds until the transaction ends. What guards refuse is judged afterwards by the
specification.
"""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from oncetask_core.task import StoreNow
from oncetask_core.transition import Guard, Transition
from oncetask_sql.codec import encode
from oncetask_sql.keys import Key
from oncetask_sql.mariadb.literals import Writing, literal
from oncetask_sql.mariadb.session import Statement
from oncetask_sql.mariadb.statements import said
from oncetask_sql.wording import Wording

_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Encoded against this time, a time that is relative to the store's becomes the distance to it."""
_LOCK: Final = """SELECT sequence, id, kind, resource_key, run_uid, lease_uid, epoch, revision, leased_until, :now
    FROM oncetask_task FORCE INDEX (PRIMARY)
    WHERE env = %(env)s AND id IN (%(ids)s) ORDER BY id FOR UPDATE SKIP LOCKED"""
EXISTING: Final = "SELECT id FROM oncetask_task WHERE env = %(env)s AND id IN (%(ids)s)"
"""Those of the tasks that exist, locked or not."""
_WHERE: Final = " WHERE env = %(env)s AND id = %(id)s"
_DELETE: Final = """DELETE t FROM JSON_TABLE(%(rows)s, '$[*]' COLUMNS (sequence BIGINT PATH '$')) AS d
    STRAIGHT_JOIN oncetask_task AS t FORCE INDEX (oncetask_task_sequence) ON t.sequence = d.sequence"""
"""Row by row: given a list, servers from 11.0 on read all of an index of which the list is a large part, and wait for
rows that others have locked."""


class Locked(NamedTuple):
    """What guards ask of a row that is locked by us."""

    sequence: int
    id: str
    kind: str
    resource_key: str | None
    run_uid: str
    lease_uid: str | None
    epoch: int
    revision: int
    leased_until: int | None
    now: int

    @property
    def key(self) -> Key | None:
        """The key whose seat a write of the row may concern."""
        return None if self.resource_key is None else Key(self.kind, self.resource_key)

    def passes(self, guard: Guard) -> bool:
        """Return whether the guard holds: `transition.judge`, as far as it says "applied"."""
        if self.run_uid != guard.run_uid:
            return False
        if guard.lease_uid is None:
            return self.revision == guard.revision
        same_grant = self.lease_uid == guard.lease_uid and guard.epoch in (None, self.epoch)
        has_run_out = self.leased_until is not None and self.leased_until <= self.now
        return same_grant and guard.revision in (None, self.revision) and (has_run_out or not guard.run_out)

    def after(self, transition: Transition) -> "Locked":
        """Return what guards will find once the transition is written."""
        patch = transition.patch
        return self._replace(
            run_uid=patch.get("run_uid", self.run_uid),
            lease_uid=patch.get("lease_uid", self.lease_uid),
            leased_until=patch.get("leased_until", self.leased_until),
            revision=self.revision + transition.bumps_revision,
        )


def locking(wording: Wording, ids: Collection[str]) -> Statement:
    """Return what locks the rows of tasks, in order, and says what guards ask; rows locked by others are left out."""
    return said(wording, _LOCK, ids=sorted(ids))


def writing(wording: Wording, transition: Transition, *, written: Writing = literal) -> Statement:
    """Return what writes a transition on a locked row whose guard holds.

    Raises:
        ValueError: A value cannot be stored.
        OverflowError: A time lies outside the years 1 to 9999.
    """
    assigned = ", ".join(_assignments(wording, transition, written))
    where = said(wording, _WHERE, written=written, id=transition.guard.id)
    return said(wording, "UPDATE oncetask_task SET ") + assigned + where


def deleting(wording: Wording, rows: Collection[Locked]) -> Statement:
    """Return what removes locked rows."""
    return said(wording, _DELETE, rows=json.dumps(sorted(row.sequence for row in rows)))


def _assignments(wording: Wording, transition: Transition, written: Writing) -> Iterator[str]:
    for name, value in transition.patch.items():
        now = f"{said(wording, ':now', written=written)} + " if isinstance(value, StoreNow) else ""
        yield f"{name} = {now}{written(encode(name, value, _ZERO))}"
    if transition.bumps_revision:
        yield "revision = revision + 1"
