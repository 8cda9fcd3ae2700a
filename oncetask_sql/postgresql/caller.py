"""What is written in a transaction of the caller: it takes no stripes, so its keys are noted and seated later."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oncetask_core.store import Decide
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Inserted
from oncetask_sql.codec import SELECTED
from oncetask_sql.forms import change, grouped
from oncetask_sql.grants import still_held
from oncetask_sql.inserted import answers_of, distinct
from oncetask_sql.postgresql import inserting
from oncetask_sql.postgresql.arrays import texts
from oncetask_sql.postgresql.writes import statement
from oncetask_sql.sessions import Dialect, Flow
from oncetask_sql.wording import Wording

_NOTED: Final = """, noted AS (
    INSERT INTO oncetask_later (env, kind, resource_key)
    SELECT DISTINCT %(env)s, kind, resource_key FROM written WHERE resource_key IS NOT NULL AND NOT generates)
    SELECT id FROM written"""
_READ: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND id = %(id)s"
_KNOWN: Final = "SELECT id, kind, created_by FROM oncetask_task WHERE env = %(env)s AND id = ANY (%(ids)s::text[])"
_TRIES: Final = 3
_SPOIL: Final = "SELECT %(text)s::integer"
_PARAMETER: Final = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?")


def _clause(sql: str) -> str:
    """Return a statement for any driver: parameters are texts or numbers, and casts stand around them."""

    def named(found: re.Match[str]) -> str:
        name, type_ = found.groups()
        if type_ in (None, "text"):
            return f"CAST(:{name} AS text)"
        return f"CAST(CAST(:{name} AS text) AS {type_})"

    return _PARAMETER.sub(named, sql).replace("%%", "%")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as the texts that they are cast from: drivers disagree about everything else."""
    return {name: str(value) if isinstance(value, int) else value for name, value in values.items()}


DIALECT: Final = Dialect("PostgreSQL", frozenset({"postgresql"}), _clause, _plain)


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
        known = still_held(rows, task)
    return False


def spoiling(text: str) -> Flow[None]:
    """Fail on purpose, so that the transaction can only be rolled back."""
    yield _SPOIL, {"text": text}
