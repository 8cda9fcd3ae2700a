"""Sixteen processes race for three hot keys in one SQLite file."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from oncetask_core.composition import store_from_url
from oncetask_core.task import NewTask

pytestmark = pytest.mark.alone

SECONDS = float(os.environ.get("ONCETASK_RACE_SECONDS", "3"))
PROCESSES = 16
KEYS = 3
TASKS_PER_KEY = 10

Held = tuple[float, float]


async def prepare(url: str) -> None:
    """Create the tasks that are raced for."""
    store = store_from_url(url, env="RACE", clock=None)
    await store.open()
    names = [(f"k{key}", f"k{key}-{number}") for key in range(KEYS) for number in range(TASKS_PER_KEY)]
    await store.insert(
        [
            NewTask(id=name, kind="raced", payload="{}", run_uid=name, created_by="race", resource_key=key)
            for key, name in names
        ]
    )
    await store.close()


def run_race(folder: Path, *, seconds: float, variant: str) -> tuple[dict[str, list[Held]], list[int]]:
    """Race; return when each key was held, and how often each process held one."""
    url = f"sqlite:///{folder / 'race.db'}"
    asyncio.run(prepare(url))
    notes = [folder / f"notes-{number}" for number in range(PROCESSES)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.races.racer", url, str(seconds), str(file), variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for file in notes
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=seconds + 60)
    assert [racer.returncode for racer in racers] == [0] * PROCESSES
    return _read(notes)


def _read(notes: Sequence[Path]) -> tuple[dict[str, list[Held]], list[int]]:
    held: dict[str, list[Held]] = {}
    counts = []
    for file in notes:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        intervals = [line for line in lines if len(line) == 3]
        counts.append(len(intervals))
        for key, start, end in intervals:
            held.setdefault(key, []).append((float(start), float(end)))
    return held, counts


def overlaps(intervals: Sequence[Held]) -> int:
    """Return how many intervals begin before the one before them has ended."""
    ordered = sorted(intervals)
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered))


@pytest.mark.timeout(180)
def test_no_two_processes_ever_hold_one_key(tmp_path: Path) -> None:
    """However hard they race, the executions of one key never overlap."""
    held, _ = run_race(tmp_path, seconds=SECONDS, variant="correct")

    assert set(held) == {f"k{key}" for key in range(KEYS)}
    assert {key: overlaps(intervals) for key, intervals in held.items()} == dict.fromkeys(held, 0)
    assert sum(len(intervals) for intervals in held.values()) >= 50


@pytest.mark.timeout(180)
def test_the_race_sees_a_claim_that_looks_before_it_takes(tmp_path: Path) -> None:
    """The same race on a claim of two transactions finds overlaps: it could have seen ours."""
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        held, _ = run_race(folder, seconds=SECONDS, variant="deferred")
        if any(overlaps(intervals) for intervals in held.values()):
            return
    pytest.fail("the broken claim was not caught in five races")
