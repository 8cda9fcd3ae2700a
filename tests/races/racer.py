"""One racing process: claims keyed tasks, holds them for a moment, gives them back; notes when it held which key.

`python -m tests.races.racer URL SECONDS FILE VARIANT`
"""

import asyncio
import itertools
import os
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from oncetask_core.claims import Claim, Slots
from oncetask_core.composition import store_from_url
from oncetask_core.decisions import KindRules, Snoozed
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import TaskStore
from oncetask_core.task import NewTask
from tests.races.acting import administer, report
from tests.races.broken import DeferredClaims, MariadbNotExistsClaims, NotExistsClaims

KIND = "raced"
HOLD_SECONDS = 0.0005
POLL_SECONDS = 0.005
ADMINISTERED = 10
"""Every how many turns a process acts as an administrator, where one does."""


def new_task(name: str) -> NewTask:
    """Return a task that is raced for; its name begins with its key."""
    key = name.partition("-")[0]
    return NewTask(id=name, kind=KIND, payload="{}", run_uid=uuid4().hex, created_by="race", resource_key=key)


def open_store(url: str, variant: str) -> TaskStore:
    """Return the store, or one that claims in a way that cannot work."""
    store = store_from_url(url, env="RACE", clock=None)
    if variant == "deferred":
        return DeferredClaims(store, Path(url.removeprefix("sqlite:///")))
    if variant == "not exists":
        server, _, schema = url.partition("?schema=")
        return NotExistsClaims(store, server, schema)
    if variant == "not exists on mariadb":
        return MariadbNotExistsClaims(store, url)
    return store


async def race(url: str, *, seconds: float, variant: str) -> str:
    """Race until the time is over; return the notes."""
    store = open_store(url, variant)
    await store.open()
    lines: list[str] = []
    deadline = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() >= deadline:
            break
        try:
            if variant == "administered" and number % ADMINISTERED == 0:
                await _administer(store)
            await _turn(store, f"{os.getpid()}-{number}", lines)
        except StoreUnavailableError:
            lines.append("unavailable")
    await store.close()
    return "\n".join(lines)


async def _turn(store: TaskStore, lease_uid: str, lines: list[str]) -> None:
    claim = Claim(
        lease_uid=lease_uid,
        leased_by=str(os.getpid()),
        lease_for=timedelta(seconds=60),
        slots={KIND: Slots(limit=2, group=2)},
    )
    claimed = await store.claim(claim)
    if not claimed.tasks:
        lines.append("nothing")
        await asyncio.sleep(POLL_SECONDS)
        return
    start = time.monotonic()
    await asyncio.sleep(HOLD_SECONDS)
    end = time.monotonic()
    lines.extend(f"{key} {start!r} {end!r}" for key in {task.resource_key for task in claimed.tasks})
    lines += await report(store, [(task, Snoozed(timedelta(0))) for task in claimed.tasks], KindRules())


async def _administer(store: TaskStore) -> None:
    """Change what nobody holds; whatever is deleted is created again."""
    deleted = await administer(store, random.Random())
    await store.insert([new_task(name) for name in deleted])


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()  # everybody starts at once
    noted = asyncio.run(race(sys.argv[1], seconds=float(sys.argv[2]), variant=sys.argv[4]))
    Path(sys.argv[3]).write_text(noted, encoding="utf-8")
