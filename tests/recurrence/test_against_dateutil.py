"""Generated rules, compared with python-dateutil where both have an opinion and dateutil's is right."""

import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from oncetask import InvalidRecurrenceError, Recurrence, preview
from tests.recurrence.cpu import CPU_SECONDS, cpu_seconds

RULES = int(os.environ.get("ONCETASK_RULES", "500"))
SEED = int(os.environ.get("ONCETASK_SEED", "20300101"))
SLOTS = 8
PATIENCE = 0.1
"""Seconds of CPU time that dateutil gets for a rule."""
NUMBERS = {
    "BYMONTH": range(1, 13),
    "BYMONTHDAY": (1, 2, 13, 15, 28, 29, 30, 31, -1, -2, -31),
    "BYYEARDAY": (1, 60, 100, 200, 365, 366, -1, -366, -100),
    "BYHOUR": range(24),
    "BYMINUTE": range(60),
    "BYSECOND": range(60),
}


class Oracle:
    """A child process that breaks off what takes dateutil too long."""

    def __init__(self) -> None:
        self.timeouts = 0
        self._child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("oracle.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def slots(self, rule: str, start: datetime) -> list[datetime] | None:
        """Return dateutil's first slots, or None when it refuses or takes too long."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        question = {"rule": rule, "start": int(start.timestamp()), "count": SLOTS, "seconds": PATIENCE}
        self._child.stdin.write(json.dumps(question) + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        if answer == "slow":
            self.timeouts += 1
            return None
        return None if answer is None else [datetime.fromtimestamp(seconds, UTC) for seconds in answer]

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


def a_rule(chance: random.Random) -> str:
    """Return a rule. Left out is what dateutil gets wrong: see `test_rules.py` for those."""
    freq = chance.choice(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"])
    parts = [f"FREQ={freq}"]
    if chance.random() < 0.4:
        rare = [28, 60, 90] if freq == "YEARLY" else []
        parts.append(f"INTERVAL={chance.choice([1, 2, 3, 4, 5, 7, 10, 12, 13, *rare])}")
    for name, numbers in NUMBERS.items():
        if chance.random() < 0.25:
            chosen = chance.sample(list(numbers), chance.randint(1, 3))
            parts.append(f"{name}={','.join(map(str, chosen))}")
    weeks = freq == "YEARLY" and chance.random() < 0.2
    if weeks:
        parts.append(f"BYWEEKNO={','.join(map(str, chance.sample([2, 3, 20, 30, 51, -40, -3], 2)))}")
    if chance.random() < 0.4:
        days = chance.sample(["MO", "TU", "WE", "TH", "FR", "SA", "SU"], chance.randint(1, 4))
        numbered = freq in {"MONTHLY", "YEARLY"} and not weeks and chance.random() < 0.5
        parts.append("BYDAY=" + ",".join(f"{chance.choice('1245') if numbered else ''}{day}" for day in days))
    if freq != "WEEKLY" and any(part.startswith("BY") for part in parts) and chance.random() < 0.2:
        parts.append(f"BYSETPOS={','.join(map(str, chance.sample([1, 2, 3, -1, -2], 2)))}")
    if chance.random() < 0.2:
        parts.append(f"WKST={chance.choice(['MO', 'SU', 'WE'])}")
    if chance.random() < 0.2:
        parts.append(f"COUNT={chance.randint(1, SLOTS)}")
    return ";".join(parts)


def a_start(chance: random.Random) -> datetime:
    """Return a start between 2000 and 2030."""
    return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(30 * 365 * 86_400))


def ours(rule: str, start: datetime) -> list[datetime] | None:
    """Return our first slots; an empty list for a rule without any, None for one that is refused as too sparse."""
    try:
        return list(preview(Recurrence(rrule=rule, dtstart=start), SLOTS))
    except InvalidRecurrenceError as error:
        return [] if "at least one occurrence" in str(error) else None


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_generated_rules_agree_with_dateutil() -> None:
    """Every compared rule has the same first slots, and no evaluation takes more than 50 ms."""
    print(f"seed {SEED}, {RULES} rules")  # noqa: T201 - part of the report
    chance, oracle = random.Random(SEED), Oracle()
    compared = refused = 0
    try:
        for _ in range(RULES):
            rule, start = a_rule(chance), a_start(chance)
            began = time.process_time()
            mine = ours(rule, start)
            if time.process_time() - began > CPU_SECONDS:
                assert cpu_seconds(partial(ours, rule, start)) <= CPU_SECONDS, f"{rule} from {start} is slow"
            expected = oracle.slots(rule, start)
            refused += mine is None
            if mine is not None and expected is not None:
                compared += 1
                assert mine == expected, f"{rule} from {start}"
    finally:
        oracle.close()
    print(f"compared {compared}, too sparse {refused}, dateutil silent {oracle.timeouts}")  # noqa: T201 - part of the report
    assert compared >= RULES * 0.7
    assert refused <= RULES * 0.1
