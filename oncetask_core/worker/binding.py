"""Tasks that know how to decode their payloads."""

import msgspec

from oncetask_core.task import DataReader, OnceTask


def bound(task: OnceTask[object], reader: DataReader) -> OnceTask[object]:
    """Return the task with `reader` as the decoder of its payload."""
    return msgspec.structs.replace(task, reader=reader)
