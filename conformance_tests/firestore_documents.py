"""Documents of the Firestore store as plain values, for the binding that reads around the store.

Written from the document format alone, without the store's own code: what nobody but us writes.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from oncetask_conformance import RawTask
from oncetask_core.recurrence import Recurrence
from oncetask_core.status import Outcome
from oncetask_core.task import TaskError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def raw_task(fields: Mapping[str, Any]) -> RawTask:
    """Return a document as plain values."""
    ours: Mapping[str, Any] = fields["oncetask"]
    assert ours["stamp"] == [fields["doneAt"], fields["leasedUntil"], fields["attempts"]]
    wait_until, priority = _time(ours["waitUntil"]), ours.get("priority", 0)
    order_at = _time(ours["orderAt"]) if "orderAt" in ours else wait_until - priority * MINUTE
    return RawTask(
        id=fields["id"],
        kind=fields["type"],
        env=fields["env"],
        payload=fields.get("oncetaskPayload") or _text(fields["data"]),
        run_uid=ours["run"],
        created_by=ours["createdBy"],
        created_at=_agreed(ours["createdAt"], fields["createdAt"]),
        wait_until=wait_until,
        order_at=order_at,
        sequence=ours["sequence"],
        resource_key=fields["resourceKey"] or None,
        strict_order=ours.get("strict", False),
        head_key=None,
        queue=ours.get("queue", "default"),
        priority=priority,
        headers=ours.get("headers", {}),
        lease_uid=ours.get("lease"),
        leased_by=ours.get("leasedBy"),
        leased_until=_maybe(ours.get("leasedUntil")),
        epoch=ours.get("epoch", 0),
        in_cleanup=ours.get("inCleanup", False),
        started_at=_maybe(ours.get("startedAt")),
        revision=ours.get("revision", 0),
        settled_by=tuple(ours.get("settledBy", ())),
        claims=ours.get("claims", 0),
        failures=ours.get("failures", 0),
        crashes=ours.get("crashes", 0),
        cleanup_attempts=ours.get("cleanupAttempts", 0),
        is_cancelled=fields["isCancelled"],
        cancelled_at=_maybe(ours.get("cancelledAt")),
        done_at=_maybe(ours.get("doneAt")),
        outcome=Outcome(ours["outcome"]) if "outcome" in ours else None,
        result=_result(fields),
        errors=_errors(ours, fields["errors"] or []),
        error_count=ours.get("errorCount", 0),
        progress=fields.get("oncetaskProgress"),
        recurrence=_rule(ours, fields["recurrence"]),
        slots_used=ours.get("slotsUsed", 0),
        parent_recurrence_id=fields["parentRecurrenceId"] or None,
        occurrence_timestamp=_maybe(ours.get("occurrence")),
    )


def _time(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def _maybe(micros: int | None) -> datetime | None:
    return None if micros is None else _time(micros)


def _agreed(micros: int, text: str) -> datetime:
    """Return an exact time, once it is within the second that stands beside it."""
    time = _time(micros)
    assert time.replace(microsecond=0) == datetime.fromisoformat(text)
    return time


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def _result(fields: Mapping[str, Any]) -> str | None:
    kept: str | None = fields.get("oncetaskResult")
    return kept or (None if fields["result"] is None else _text(fields["result"]))


def _errors(ours: Mapping[str, Any], reported: list[Mapping[str, str]]) -> tuple[TaskError, ...]:
    texts = iter(reported)
    return tuple(
        TaskError(
            at=_time(entry["at"]),
            error=entry["error"] if "error" in entry else next(texts)["error"],
            attempt=entry["attempt"],
        )
        for entry in ours.get("errors", ())
    )


def _rule(ours: Mapping[str, Any], wire: Mapping[str, Any] | None) -> Recurrence | None:
    assert "rule" not in ours
    if wire is None:
        return None
    exdates = tuple(datetime.fromisoformat(text) for text in wire["exdates"] or ())
    return Recurrence(rrule=wire["rrule"], dtstart=datetime.fromisoformat(wire["dtstart"]), exdates=exdates)
