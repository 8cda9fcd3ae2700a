"""`python -m examples.index_files [PATH] [--store URL]`.

The exit code is 0 if every promise held, 1 if one was broken, and 2 if there is nothing to index.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from examples.index_files.experiment import LINGER, Killed, Plan, Workers, create, finish, until_it_holds_tasks
from examples.index_files.ledger import Ledger
from examples.index_files.progress import Progress, say
from examples.index_files.scan import Found, found_below
from examples.index_files.summaries import incomplete
from examples.index_files.tasks import make_manager
from examples.index_files.verdict import Expected, Verdict, judge
from oncetask import InputError, OnceTask, TaskManager

PAGE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.index_files", description=__doc__)
    parser.add_argument(
        "path", nargs="?", type=Path, help="a directory; by default this project and the standard library"
    )
    parser.add_argument("--store", help="a store URL; by default a new SQLite file")
    parser.add_argument("--folder", type=Path, help="where summaries, ledger and the default store go")
    parser.add_argument("--check", action="store_true", help="only look whether there is something to index")
    options = parser.parse_args(arguments)
    try:
        found = found_below(options.path)
    except InputError as error:
        print(f"index_files: {error}", file=sys.stderr)
        return 2
    if options.check:
        return 0
    with tempfile.TemporaryDirectory(prefix="oncetask-demo-") as temporary:
        folder = Path(temporary) if options.folder is None else options.folder
        folder.mkdir(parents=True, exist_ok=True)
        store = options.store or f"sqlite:///{folder / 'index.db'}"
        return asyncio.run(run(store, found, folder))


async def run(store: str, found: Sequence[Found], folder: Path) -> int:
    """Run the experiment twice over the same files; return the exit code."""
    ledger = Ledger(folder / "ledger.db")
    manager = make_manager(store, ledger, name="observer")
    workers = Workers(store, folder / "ledger.db")
    started = time.monotonic()
    try:
        earlier = {task.id for task in await every_task(manager) if not task.is_live}
        plan = await create(manager, found, folder)
        say(f"{plan.files} files: {plan.new_files} new tasks, {plan.new_folders} new folder tasks in {store}")
        killed = await run_workers(manager, workers, kill=plan.new_files > 0)
        again = await create(manager, found, folder)
        say(f"second run: {again.new_files} new file tasks, {again.new_folders} new folder tasks")
        in_time = await finish(manager, Progress())
    finally:
        workers.stop()
    tasks = await every_task(manager)
    await manager.close()
    verdict = judge(tasks, ledger.entries(), expected_of(plan, again, killed, earlier=earlier))
    unwritten = incomplete(tasks, plan.summaries)
    violations = [
        *verdict.violations,
        *(f"no complete summary: {target}" for target in unwritten),
        *more_violations(plan, again, killed, in_time=in_time),
    ]
    report(verdict, plan, killed, unwritten=len(unwritten), seconds=time.monotonic() - started)
    for violation in violations:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    return 1 if violations else 0


async def run_workers(manager: TaskManager, workers: Workers, *, kill: bool) -> Killed | None:
    """Start two workers, kill one while it holds tasks, replace it, and wait for the end."""
    workers.start("worker-1", linger=LINGER if kill else 0.0)
    if kill:  # the other one might leave it nothing of a small tree
        await until_it_holds_tasks("worker-1", manager)
    workers.start("worker-2")
    killed = await workers.kill_one_that_holds_tasks("worker-1", manager) if kill else None
    if killed is not None:
        say(f"killed worker-1 (pid {killed.pid}) while it held {len(killed.leased)} tasks; worker-3 takes over")
        workers.start("worker-3")
    await finish(manager, Progress())
    return killed


def expected_of(plan: Plan, again: Plan, killed: Killed | None, *, earlier: Collection[str]) -> Expected:
    """Return what must be true at the end."""
    return Expected(
        created=plan.ids | again.ids,
        earlier=earlier,
        cancelled=plan.cancelled | again.cancelled,
        flaky=plan.flaky | again.flaky,
        recurring=plan.recurring | again.recurring,
        killed_pids=() if killed is None else (killed.pid,),
        leased_at_kill=frozenset() if killed is None else killed.leased,
    )


def more_violations(plan: Plan, again: Plan, killed: Killed | None, *, in_time: bool) -> list[str]:
    """Return what the comparison of store and ledger cannot see."""
    found = [] if in_time else ["not every task ended in time"]
    if again.new_files or again.new_folders:
        found.append(f"the second run created {again.new_files} file and {again.new_folders} folder tasks")
    if plan.new_files and killed is None:
        found.append("no worker could be killed while it held tasks: the experiment proves nothing. Index more files")
    return found


async def every_task(manager: TaskManager) -> list[OnceTask[object]]:
    """Return every task in the store."""
    tasks: list[OnceTask[object]] = []
    cursor = None
    while True:
        page = await manager.list_tasks(limit=PAGE, cursor=cursor)
        tasks.extend(page.tasks)
        cursor = page.cursor
        if cursor is None:
            return tasks


def report(verdict: Verdict, plan: Plan, killed: Killed | None, *, unwritten: int, seconds: float) -> None:
    """Print the figures."""
    rows = [
        ("files", plan.files),
        ("tasks", verdict.tasks),
        ("handler runs", verdict.runs),
        ("retried", verdict.retried),
        ("occurrences of the recurring tasks", verdict.occurrences),
        ("clean-ups of the cancelled tasks", verdict.cleaned_up),
        ("new summaries of folders", plan.new_folders - unwritten),
        ("leased when the worker was killed", 0 if killed is None else len(killed.leased)),
        ("re-run by another process after the kill", verdict.rerun_elsewhere),
        ("completed", verdict.completed),
        ("ended but unacknowledged", verdict.unacknowledged),
        ("settled twice (must be 0)", verdict.settled_twice),
        ("lost (must be 0)", verdict.lost),
    ]
    say("")
    for label, figure in rows:
        print(f"{label:<42} {figure:>8}")
    print(f"{'seconds':<42} {seconds:>8.1f}")


if __name__ == "__main__":
    sys.exit(main())
