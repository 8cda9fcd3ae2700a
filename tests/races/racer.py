"""Racing processes: each claims keyed tasks, holds them for a moment, gives them back; notes when it held which key.

`python -m tests.races.racer URL SECONDS VARIANT FILE ...` races in one process for each file.
"""

import asyncio
import itertools
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from oncetask_core.claims import Claim, Slots
from oncetask_core.composition import store_from_url
from oncetask_core.decisions import KindRules, Snoozed
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import Claimed, TaskStore
from oncetask_core.task import NewTask
from tests.firestore.broken import take_any_head, take_no_lock
from tests.races.acting import MOMENT, administer, report
from tests.races.broken import DeferredClaims, MariadbNotExistsClaims, NotExistsClaims

KIND = "raced"
HOLD_SECONDS = 0.0005
LONG_HOLD_SECONDS = 0.02
"""Of variants whose claims take longer than a short hold."""
POLL_SECONDS = 0.005
LATEST_SECONDS = 20.0
"""How much longer a process races at most that has held nothing, where everybody is slow."""
ADMINISTERED = 10
"""Every how many turns a process acts as an administrator, where one does."""


def new_task(name: str) -> NewTask:
    """Return a task that is raced for; its name begins with its key."""
    key = name.partition("-")[0]
    return NewTask(id=name, kind=KIND, payload="{}", run_uid=uuid4().hex, created_by="race", resource_key=key)


def open_store(url: str, variant: str) -> TaskStore:
    """Return the store, or one that claims in a way that cannot work."""
    if "any head" in variant:
        take_any_head()
    if "no lock" in variant:
        take_no_lock()
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
    """Race until the time is over and something was held; return the notes."""
    store = open_store(url, variant)
    await store.open()
    lines: list[str] = []
    deadline = time.monotonic() + seconds
    for number in itertools.count():
        has_held = any(line.startswith("held") for line in lines)
        if time.monotonic() >= (deadline if has_held else deadline + LATEST_SECONDS):
            break
        try:
            if "administered" in variant and number % ADMINISTERED == 0:
                await _administer(store)
            await _turn(store, f"{os.getpid()}-{number}", lines, variant=variant)
        except StoreUnavailableError:
            lines.append("unavailable")
    await store.close()
    return "\n".join(lines)


async def _turn(store: TaskStore, lease_uid: str, lines: list[str], *, variant: str) -> None:
    claim = Claim(
        lease_uid=lease_uid,
        leased_by=str(os.getpid()),
        lease_for=timedelta(seconds=60),
        slots={KIND: Slots(limit=2, group=1 if "any head" in variant else 2)},
    )
    claimed = await _answered(store, claim)
    if not claimed.tasks:
        lines.append("nothing")
        await asyncio.sleep(POLL_SECONDS)
        return
    start = time.monotonic()
    await asyncio.sleep(LONG_HOLD_SECONDS if "long hold" in variant else HOLD_SECONDS)
    end = time.monotonic()
    lines.extend(f"held {key} {start!r} {end!r}" for key in {task.resource_key for task in claimed.tasks})
    refused = await report(store, [(task, Snoozed(timedelta(0))) for task in claimed.tasks], KindRules())
    lines += [f"refused {one}" for one in refused if not one.is_repeated]


async def _answered(store: TaskStore, claim: Claim) -> Claimed:
    """Claim, and ask again as a worker does where nobody knows what was granted: nothing stays held by nobody."""
    while True:
        try:
            return await store.claim(claim)
        except StoreUnavailableError:
            await asyncio.sleep(MOMENT)


async def _administer(store: TaskStore) -> None:
    """Change what nobody holds; whatever is deleted is created again."""
    deleted: set[str] = set()
    await administer(store, random.Random(), deleted)
    await store.insert([new_task(name) for name in deleted])


def fork_racers(files: Sequence[Path], run: Callable[[], str]) -> list[int]:
    """Let a fork for each file race, all from one moment on; return their exit codes.

    A fork has imported everything when it begins: sixteen interpreters would take longer than the race.
    """
    gate, opener = os.pipe()
    racers = []
    for file in files:
        racer = os.fork()
        if racer == 0:
            os.close(opener)
            os.read(gate, 1)  # everybody starts at once
            _race_as_fork(file, run)
        racers.append(racer)
    os.close(opener)
    return [os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers]


def _race_as_fork(file: Path, run: Callable[[], str]) -> NoReturn:
    """Race, write the notes, and end the process whatever happens."""
    code = 1
    try:
        file.write_text(run(), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def main() -> int:
    """Race in as many processes as files are named; return 1 if one of them failed."""
    url, seconds, variant, *files = sys.argv[1:]
    codes = fork_racers(
        [Path(file) for file in files], lambda: asyncio.run(race(url, seconds=float(seconds), variant=variant))
    )
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
