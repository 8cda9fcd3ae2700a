"""Rows of the SQL stores as plain values, for the bindings that read around a store."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from oncetask_conformance import RawTask

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = (
    "created_at",
    "wait_until",
    "order_at",
    "leased_until",
    "started_at",
    "cancelled_at",
    "done_at",
    "occurrence_timestamp",
)
DOCUMENTS = ("headers", "settled_by", "errors", "recurrence")


def raw_task(row: Mapping[str, object]) -> RawTask:
    """Return a row as plain values: times are microseconds, documents are JSON text."""
    values = {name: row[name] for name in RawTask.__struct_fields__}
    for name in TIMES:
        micros = values[name]
        if isinstance(micros, int):
            values[name] = EPOCH + timedelta(microseconds=micros)
    for name in DOCUMENTS:
        text = values[name]
        values[name] = msgspec.json.decode(text) if isinstance(text, str) else None
    return msgspec.convert(values, RawTask, strict=False)
