"""Log records that know which task they belong to."""

import logging

from oncetask_core.context import current_context

LOGGER_NAME = "oncetask"


class TaskContextFilter(logging.Filter):
    """Adds `task_id`, `task_kind`, `resource_key` and `attempt` to the records of a running handler.

    Attach it to a handler (`logging.StreamHandler().addFilter(TaskContextFilter())`): filters of loggers do not
    see the records of their children. Outside of handlers the attributes are None; attributes that a record
    already has are left alone. Nothing is ever filtered out.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Annotate the record and let it pass."""
        context = current_context()
        task = None if context is None else context.task
        alone = context is not None and len(context.tasks) == 1
        found = {
            "task_id": task.id if task is not None and alone else None,
            "task_kind": None if task is None else task.kind,
            "resource_key": None if task is None else task.resource_key,
            "attempt": None if context is None else context.attempt,
        }
        for name, value in found.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
