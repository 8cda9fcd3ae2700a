"""The payloads and handlers: what an application that uses oncetask consists of."""

import ast
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from examples.index_files.ledger import Ledger
from oncetask import (
    EventName,
    FixedDelayPolicy,
    OnceTask,
    PerTask,
    Recurrence,
    Snooze,
    TaskContext,
    TaskData,
    TaskEvent,
    TaskFilter,
    TaskManager,
)

LEASE_SECONDS = 2.0
FAILURES_BEFORE_SUCCESS = 2
HEARTBEATS = 5
SETTLED = {EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the index knows about one file."""

    size: int
    lines: int
    definitions: int


@dataclass(frozen=True, slots=True)
class IndexFile(TaskData[FileFacts]):
    """Index one version of one file; files of one folder are indexed together."""

    kind: ClassVar[str] = "index_file"
    root: str
    path: str
    folder: str
    digest: str

    def idempotent_id(self) -> str:
        return f"file:{self.path}:{self.digest}"

    def resource_key(self) -> str:
        return self.folder


@dataclass(frozen=True, slots=True)
class SummarizeFolder(TaskData[str]):
    """Write the summary of one folder once its files are indexed."""

    kind: ClassVar[str] = "summarize_folder"
    folder: str
    digest: str
    target: str

    def idempotent_id(self) -> str:
        return f"folder:{self.folder}:{self.digest}"

    def resource_key(self) -> str:
        return self.folder


@dataclass(frozen=True, slots=True)
class CallFlakyService(TaskData[int]):
    """Something that fails twice before it succeeds."""

    kind: ClassVar[str] = "call_flaky_service"
    run: str

    def idempotent_id(self) -> str:
        return f"flaky:{self.run}"


@dataclass(frozen=True, slots=True)
class NoteTime(TaskData[None]):
    """Something that recurs: every second, five times."""

    kind: ClassVar[str] = "note_time"
    run: str
    start: datetime

    def idempotent_id(self) -> str:
        return f"clock:{self.run}"

    def recurrence(self) -> Recurrence:
        return Recurrence(rrule=f"FREQ=SECONDLY;COUNT={HEARTBEATS}", dtstart=self.start, catch_up="all")


@dataclass(frozen=True, slots=True)
class SendReminder(TaskData[None]):
    """Something due in an hour, which is cancelled before."""

    kind: ClassVar[str] = "send_reminder"
    run: str

    def idempotent_id(self) -> str:
        return f"reminder:{self.run}"

    def scheduled_time(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)


def index(task: OnceTask[IndexFile]) -> FileFacts:
    """Read one file and count what is in it."""
    data = task.data
    content = (Path(data.root) / data.path).read_bytes()
    try:
        tree = ast.parse(content) if data.path.endswith(".py") else None
    except (SyntaxError, ValueError):
        tree = None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    definitions = 0 if tree is None else sum(isinstance(node, kinds) for node in ast.walk(tree))
    return FileFacts(size=len(content), lines=content.count(b"\n"), definitions=definitions)


def make_manager(store: str, ledger: Ledger, *, name: str, linger: float = 0.0) -> TaskManager:
    """Return a manager with every handler of this example; the ledger hears of each start, end and accepted end."""
    manager = TaskManager(store, name=name, poll_interval=0.25, shutdown_timeout=10)
    register_index(manager, ledger, linger=linger)
    register_others(manager, ledger)

    def note_accepted(event: TaskEvent) -> None:
        if event.name in SETTLED and event.task is not None:
            ledger.note("accepted", event.task)

    manager.on_event(note_accepted)
    return manager


def register_index(manager: TaskManager, ledger: Ledger, *, linger: float) -> None:
    """Register the handlers that index files, `linger` seconds longer than it takes, and write a summary per folder."""

    @manager.resource_key_handler(IndexFile, lease_duration=LEASE_SECONDS, max_group=20, concurrency=2)
    def index_group(tasks: list[OnceTask[IndexFile]]) -> PerTask:
        outcomes: dict[str, object] = {}
        for task in tasks:
            ledger.note("start", task)
            outcomes[task.id] = index(task)
            ledger.note("end", task)
            time.sleep(linger / len(tasks))
        return PerTask(outcomes)

    @manager.resource_key_handler(SummarizeFolder, lease_duration=LEASE_SECONDS)
    async def summarize(tasks: list[OnceTask[SummarizeFolder]]) -> str:
        first = tasks[0].data
        kinds = frozenset({IndexFile.kind})
        if await manager.count_tasks(TaskFilter(kinds=kinds, resource_key=first.folder, live=True)):
            raise Snooze(0.25)
        for task in tasks:
            ledger.note("start", task)
        facts = await _facts_of(manager, TaskFilter(kinds=kinds, resource_key=first.folder))
        await asyncio.to_thread(Path(first.target).write_text, json.dumps(facts, indent=2), encoding="utf-8")
        for task in tasks:
            ledger.note("end", task)
        return first.target


def register_others(manager: TaskManager, ledger: Ledger) -> None:
    """Register the handlers of the tasks that fail, recur, and are cancelled."""

    @manager.task_handler(
        CallFlakyService, lease_duration=LEASE_SECONDS, retry_policy=FixedDelayPolicy(delay=0.2, max_attempts=5)
    )
    async def call_flaky_service(task: OnceTask[CallFlakyService], context: TaskContext[CallFlakyService]) -> int:
        ledger.note("start", task)
        if task.failures < FAILURES_BEFORE_SUCCESS:  # an attempt that a killed worker took with it is none of them
            raise ConnectionError(f"attempt {context.attempt}: the service is not there")
        ledger.note("end", task)
        return context.attempt

    @manager.task_handler(NoteTime, lease_duration=LEASE_SECONDS)
    async def note_time(task: OnceTask[NoteTime]) -> None:
        ledger.note("start", task)
        ledger.note("end", task)

    async def clean_up(task: OnceTask[SendReminder]) -> None:
        ledger.note("start", task)
        ledger.note("end", task)

    @manager.task_handler(SendReminder, lease_duration=LEASE_SECONDS, cancellation_handler=clean_up)
    async def send_reminder(task: OnceTask[SendReminder]) -> None:
        raise AssertionError(f"{task.id} was cancelled before it was due")


async def _facts_of(manager: TaskManager, files: TaskFilter) -> dict[str, object]:
    """Return what the index knows about every file of a folder."""
    facts: dict[str, object] = {}
    cursor = None
    while True:
        page = await manager.list_tasks(files, limit=1000, cursor=cursor)
        indexed = [task for task in page.tasks if task.result is not None]
        facts |= {task.read_as(IndexFile).path: asdict(task.result_as(FileFacts)) for task in indexed}
        cursor = page.cursor
        if cursor is None:
            return facts
