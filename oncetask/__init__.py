"""oncetask: durable tasks that complete exactly once.

Everything users need is here; the packages `oncetask_*` behind it are for those who write stores.
"""

from oncetask_core.blocking import SyncCreated, SyncTaskManager
from oncetask_core.client import TaskClient
from oncetask_core.clock import Clock, SystemClock, VirtualClock
from oncetask_core.context import (
    TaskContext,
    current_context,
    get_current_task_id,
    get_current_task_resource_key,
)
from oncetask_core.creating import Created
from oncetask_core.env import DEFAULT_ENV, ENV_VARIABLE
from oncetask_core.errors import (
    BulkOperationError,
    ConfigurationError,
    DuplicateHandlerError,
    HandlerTimeoutError,
    IllegalTransitionError,
    InputError,
    InvalidRecurrenceError,
    InvalidTaskError,
    LeaseExpiredError,
    LeaseLostError,
    NotCommittedError,
    OncetaskError,
    PayloadError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
    TaskFailedError,
    TaskIdConflictError,
    TaskNotFoundError,
    UnknownKindError,
)
from oncetask_core.handlers import Failed, HandlerOptions, PerTask
from oncetask_core.logs import TaskContextFilter
from oncetask_core.manager import Health, TaskManager
from oncetask_core.operations import Bulk
from oncetask_core.query import Page, TaskFilter, TaskOrder
from oncetask_core.recurrence import Recurrence, preview
from oncetask_core.retry import (
    ByExceptionPolicy,
    ExponentialBackoffPolicy,
    FixedDelayPolicy,
    NoRetryPolicy,
    RetryPolicy,
)
from oncetask_core.signals import GiveUp, RetryAfter, Snooze
from oncetask_core.status import Outcome, TaskStatus
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask, TaskError
from oncetask_core.task_data import TaskData
from oncetask_core.worker import EventName, Seams, TaskEvent, WorkerState
from oncetask_memory import MemoryStore

__all__ = [
    "DEFAULT_ENV",
    "ENV_VARIABLE",
    "Bulk",
    "BulkOperationError",
    "ByExceptionPolicy",
    "Clock",
    "ConfigurationError",
    "Created",
    "DuplicateHandlerError",
    "EventName",
    "ExponentialBackoffPolicy",
    "Failed",
    "FixedDelayPolicy",
    "GiveUp",
    "HandlerOptions",
    "HandlerTimeoutError",
    "Health",
    "IllegalTransitionError",
    "InputError",
    "InvalidRecurrenceError",
    "InvalidTaskError",
    "LeaseExpiredError",
    "LeaseLostError",
    "MemoryStore",
    "NoRetryPolicy",
    "NotCommittedError",
    "OnceTask",
    "OncetaskError",
    "Outcome",
    "Page",
    "PayloadError",
    "PerTask",
    "Recurrence",
    "RetryAfter",
    "RetryPolicy",
    "SchemaError",
    "Seams",
    "Snooze",
    "StoreError",
    "StoreUnavailableError",
    "SyncCreated",
    "SyncTaskManager",
    "SystemClock",
    "TaskClient",
    "TaskContext",
    "TaskContextFilter",
    "TaskData",
    "TaskError",
    "TaskEvent",
    "TaskFailedError",
    "TaskFilter",
    "TaskIdConflictError",
    "TaskManager",
    "TaskNotFoundError",
    "TaskOrder",
    "TaskStatus",
    "TaskStore",
    "UnknownKindError",
    "VirtualClock",
    "WorkerState",
    "current_context",
    "get_current_task_id",
    "get_current_task_resource_key",
    "preview",
]
