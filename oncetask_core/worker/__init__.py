"""The loops that run tasks: claim, execute, settle, renew, and the upkeep in between."""

from oncetask_core.worker.events import EventName, TaskEvent
from oncetask_core.worker.settings import Seams, WorkerSettings
from oncetask_core.worker.worker import Worker, WorkerState

__all__ = ["EventName", "Seams", "TaskEvent", "Worker", "WorkerSettings", "WorkerState"]
