"""What is written in a transaction of the caller: it takes no stripes, so its keys are noted and seated later."""

from collections.abc import Sequence
from typing import Final

from oncetask_core.store import Decide
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Inserted
from oncetask_sql.codec import SELECTED, decode
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.postgresql import inserting
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.writes import change, grouped, statement
from oncetask_sql.sessions import Flow
from oncetask_sql.wording import Wording

_NOTED: Final = """, noted AS (
    INSERT INTO oncetask_later (env, kind, resource_key)
    SELECT DISTINCT %(env)s, kind, resource_key FROM written WHERE resource_key IS NOT NULL AND NOT generates)
    SELECT id FROM written"""
_READ: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id = %(id)s"
_KNOWN: Final = "SELECT id, kind, created_by FROM oncetask_task WHERE env = %(env)s AND id = ANY (%(ids)s::text[])"
_TRIES: Final = 3
_SPOIL: Final = "SELECT %(text)s::integer"


def insertion(wording: Wording, tasks: Sequence[NewTask]) -> Flow[list[Inserted]]:
    """Add the tasks whose ids are unknown, unseated; return an answer for each, in order."""
    sql, values = inserting.insertion(wording, distinct(tasks))
    returning = f"{sql}, kind, resource_key, recurrence IS NOT NULL AS generates"
    rows = yield f"WITH written AS ({returning}) {wording.render(_NOTED)}", values
    created = {task_id for (task_id,) in rows}
    existing = {}
    others = [new.id for new in tasks if new.id not in created]
    if others:
        rows = yield wording.render(_KNOWN), {**wording.parameters(), "ids": texts(others)}
        existing = {task_id: (kind, created_by) for task_id, kind, created_by in rows}
    return answers_of(tasks, created, existing)


def settlement(wording: Wording, task: OnceTask[object], decide: Decide) -> Flow[bool]:
    """Write what is decided about the newest record of a task, if its lease still holds it; return whether it does."""
    known: OnceTask[object] | None = task
    for _ in range(_TRIES):
        if known is None:
            return False
        write = change(decide(known))
        sql, values = statement(wording, grouped([write])[0][0], [write])
        rows = yield f"WITH written AS ({sql}, false AS generates) {wording.render(_NOTED)}", values
        if rows:
            return True
        rows = yield wording.render(_READ), {**wording.parameters(), "id": task.id}
        known = _still_held(decode(rows[0]), task) if rows else None
    return False


def _still_held(found: OnceTask[object], task: OnceTask[object]) -> OnceTask[object] | None:
    grant = (task.run_uid, task.lease_uid, task.epoch)
    return found if (found.run_uid, found.lease_uid, found.epoch) == grant else None


def spoiling(text: str) -> Flow[None]:
    """Fail on purpose, so that the transaction can only be rolled back."""
    yield _SPOIL, {"text": text}
