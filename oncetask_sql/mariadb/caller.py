"""What is written in a transaction of the caller: it takes no stripes, so its keys are noted and seated later.

Such a transaction is at REPEATABLE READ as a rule, where a plain SELECT shows what was there when it began; what is
decided on is therefore read with a lock. Nothing is locked that exists already and that nobody asked to change.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oncetask_core.errors import ConfigurationError
from oncetask_core.store import Decide
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Inserted
from oncetask_sql.codec import SELECTED, Row
from oncetask_sql.grants import still_held
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.keys import Key, keys_of
from oncetask_sql.mariadb import inserting, seating, writes
from oncetask_sql.mariadb.literals import Bound
from oncetask_sql.mariadb.statements import said
from oncetask_sql.sessions import Dialect, Flow
from oncetask_sql.wording import Wording

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_SETTINGS: Final = (
    "SET STATEMENT /*M!110602 innodb_snapshot_isolation = OFF, */ sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
    " FOR "
)
"""Newer servers refuse to lock a row that was changed since the transaction began, as renewals do. And what the
session's character set cannot say must not be stored as something else."""
_LOOK: Final = """SELECT @@in_transaction, t.id, t.kind, t.created_by FROM (SELECT 1) AS one
    LEFT JOIN oncetask_task AS t FORCE INDEX (PRIMARY) ON t.env = %(env)s AND t.id IN (%(ids)s)"""
_OR_KEPT: Final = " ON DUPLICATE KEY UPDATE sequence = sequence RETURNING id, kind, created_by"
_LOCK: Final = f"""SELECT @@in_transaction, {SELECTED} FROM oncetask_task FORCE INDEX (PRIMARY)
    WHERE env = %(env)s AND id = %(id)s FOR UPDATE"""
_KILL: Final = "KILL CONNECTION_ID()"


def _clause(sql: str) -> str:
    return _PARAMETER.sub(r":\1", sql)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values)


DIALECT: Final = Dialect("MariaDB", frozenset({"mysql", "mariadb"}), _clause, _plain)


def insertion(wording: Wording, tasks: Sequence[NewTask]) -> Flow[list[Inserted]]:
    """Add the tasks whose ids are unknown, unseated; return an answer for each, in order.

    Ids that the transaction can see are left alone without a lock. One that came into being since it began is locked,
    as any insert of an existing row does it, and recognised by its creator.
    """
    first = distinct(tasks)
    rows = yield _bound(wording, _LOOK, ids=[new.id for new in first])
    _check_transaction(rows)
    existing = {task_id: (kind, created_by) for _, task_id, kind, created_by in rows if task_id is not None}
    missing = [new for new in first if new.id not in existing]
    for portion in inserting.portions(wording, missing):
        written = Bound()
        adding = _SETTINGS + inserting.adding(wording, portion, written=written)
        rows = yield adding + _OR_KEPT, written.values
        existing |= {task_id: (kind, created_by) for task_id, kind, created_by in rows}
    created = {new.id for new in missing if existing[new.id] == (new.kind, new.created_by)}
    if keys := keys_of(new for new in missing if new.id in created):
        written = Bound()
        yield seating.noting(wording, keys, written=written), written.values
    return answers_of(tasks, created, {task_id: told for task_id, told in existing.items() if task_id not in created})


def settlement(wording: Wording, task: OnceTask[object], decide: Decide) -> Flow[bool]:
    """Write what is decided about the newest record of a task, if its lease still holds it; return whether it does."""
    sql, values = _bound(wording, _LOCK, id=task.id)
    rows = yield _SETTINGS + sql, values
    _check_transaction(rows)
    found = still_held([row[1:] for row in rows], task)
    if found is None:
        return False
    written = Bound()
    yield _SETTINGS + writes.writing(wording, decide(found), written=written), written.values
    if found.resource_key is not None:
        written = Bound()
        noting = seating.noting(wording, [Key(found.kind, found.resource_key)], written=written)
        yield noting, written.values
    return True


def spoiling(_text: str) -> Flow[None]:
    """End the connection: here a statement that fails leaves the transaction before it intact."""
    yield _KILL, {}


def _bound(wording: Wording, sql: str, **values: object) -> tuple[str, Mapping[str, object]]:
    written = Bound()
    return said(wording, sql, written=written, **values), written.values


def _check_transaction(rows: Sequence[Row]) -> None:
    """Refuse a session that has said nothing of it, but commits each statement by itself."""
    if any(not is_within for is_within, *_ in rows):
        raise ConfigurationError(
            value="autocommit",
            rule="the session is in a transaction of yours: on this one each statement commits by itself",
            remedy="Begin one first, as in `with session.begin():`.",
        )
