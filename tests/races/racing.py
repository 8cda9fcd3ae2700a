"""Racing: processes that claim tasks of a few hot keys, and what they note about who held which key when."""

import asyncio
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from oncetask_core.composition import store_from_url
from oncetask_core.store import TaskStore
from oncetask_sql.keys import Key
from tests.races.acting import faults_at_rest, held_at_rest
from tests.races.racer import new_task

SECONDS = float(os.environ.get("ONCETASK_RACE_SECONDS", "3"))
CONTROL_SECONDS = 30.0
"""In which a claim that cannot work is caught."""
PROCESSES = 16
TASKS_PER_KEY = 10

Held = tuple[float, float]


class Race(NamedTuple):
    """What the processes of a race have noted.

    Attributes:
        held: When each key was held.
        refused: What holders were refused in the time of their leases.
    """

    held: Mapping[str, Sequence[Held]]
    refused: Sequence[str]


async def prepare(url: str, keys: int) -> None:
    """Create the tasks that are raced for."""
    store = store_from_url(url, env="RACE", clock=None)
    await store.migrate()
    await store.open()
    names = [f"k{key}-{number}" for key in range(keys) for number in range(TASKS_PER_KEY)]
    await store.insert([new_task(name) for name in names])
    await store.close()


def run_race(url: str, folder: Path, *, seconds: float, variant: str, keys: int = 3) -> Race:
    """Race for a few keys; return what was noted."""
    asyncio.run(prepare(url, keys))
    notes = [folder / f"notes-{number}" for number in range(PROCESSES)]
    command = [sys.executable, "-m", "tests.races.racer", url, str(seconds), variant, *map(str, notes)]
    subprocess.run(command, check=True, timeout=seconds + 60)
    return _read(notes)


def _read(notes: Sequence[Path]) -> Race:
    lines = [line.partition(" ") for file in notes for line in file.read_text(encoding="utf-8").splitlines()]
    held: dict[str, list[Held]] = {}
    for key, start, end in (said.split() for word, _, said in lines if word == "held"):
        held.setdefault(key, []).append((float(start), float(end)))
    return Race(held, [said for word, _, said in lines if word == "refused"])


def overlaps(intervals: Sequence[Held]) -> int:
    """Return how many intervals begin before the one before them has ended."""
    ordered = sorted(intervals)
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered))


def check_no_overlap(race: Race, *, keys: int, least: int = 10) -> None:
    """Fail where executions of one key overlapped, where a holder was refused, or where nobody raced."""
    held = race.held
    assert race.refused == []
    assert set(held) == {f"k{key}" for key in range(keys)}
    assert {key: overlaps(intervals) for key, intervals in held.items()} == dict.fromkeys(held, 0)
    assert sum(len(intervals) for intervals in held.values()) >= least


def check_seats(url: str, *, noted: Collection[Key]) -> None:
    """Fail where a key has not the seat that belongs to it after a race, and is not noted either."""
    assert asyncio.run(_asked(url, lambda store: faults_at_rest(store, noted=noted))) == []


def check_nothing_is_held(url: str) -> None:
    """Fail where a task is leased after a race."""
    assert asyncio.run(_asked(url, held_at_rest)) == []


async def _asked(url: str, ask: Callable[[TaskStore], Awaitable[list[str]]]) -> list[str]:
    store = store_from_url(url, env="RACE", clock=None)
    await store.open()
    answer = await ask(store)
    await store.close()
    return answer


def check_is_caught(race: Callable[[int], Race]) -> None:
    """Fail unless half a minute of races has an overlap: the negative control."""
    races = math.ceil(CONTROL_SECONDS / SECONDS)
    for attempt in range(races):
        if any(overlaps(intervals) for intervals in race(attempt).held.values()):
            return
    raise AssertionError(f"the broken claim was not caught in {races} races of {SECONDS} s")
