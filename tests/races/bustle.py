"""A bustle on a few keys: producers who repeat themselves, workers (late ones, too), an administrator; and pauses.

Everybody has connections of their own. In each pause the seats of all keys are compared with the specification. In the
end everything is drained, and nothing may be left or lost.
"""

import asyncio
import itertools
import math
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from oncetask_core.claims import Claim, Slots
from oncetask_core.composition import store_from_url
from oncetask_core.decisions import (
    Failure,
    KindRules,
    Released,
    Report,
    Snoozed,
    Success,
)
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.query import TaskFilter
from oncetask_core.retry import FixedDelayPolicy
from oncetask_core.status import Outcome
from oncetask_core.store import TaskStore
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Verdict
from oncetask_sql.keys import Key
from tests.races.acting import MOMENT, administer, everything, expire, faults_at_rest, report

Task = OnceTask[object]
Role = Callable[[TaskStore, random.Random], Coroutine[Any, Any, None]]
Noted = Callable[[], set[Key]]

KIND = "raced"
KEYS = 12
REPEATED = 0.2
STORES = 4
CONTROL_SECONDS = 60.0
"""In which a planted mistake is found at the latest; most are within two seconds, and nothing goes on behind that."""
UNTIL_PAUSE = 0.5
"""Seconds."""
BACKLOG = 100
SHORT = timedelta(milliseconds=30)
SLOW = 0.1
"""How many claims are of workers who may take longer than their lease; these are not watched for others beside them."""
VANISHED = 0.5
"""How many of these never report."""
SUSPECTS = 0.3
"""How many claims are for tasks whose lease ran out before."""
SLOWEST = 10
"""How many times as long a bustle goes on at most where a slow machine has repeated hardly any creation."""
LATE = {Verdict.LEASE_LOST, Verdict.MISSING}
"""What is answered whose lease ran out before: somebody else has the task, or has ended it, and it was deleted."""
DRAINED = 60.0
"""Seconds in which everything is drained at the latest."""
ENDLESSLY = FixedDelayPolicy(max_attempts=0)
RULES = KindRules(retry_policy=ENDLESSLY, cleanup_policy=ENDLESSLY, has_cleanup=True, max_crashes=0)


def seed_of_this_run() -> int:
    """Return the seed in ONCETASK_RACE_SEED, or a new one; failures name it."""
    return int(os.environ.get("ONCETASK_RACE_SEED") or random.SystemRandom().randrange(10**6))


@dataclass
class Bustle:
    """Some stores of one environment, and what is known of their tasks.

    Attributes:
        stores: The stores.
        noted: Returns the keys that are noted for a later look.
        seed: What everybody's choices follow from, as far as they do not depend on who is faster.
        faults: What was wrong.
        created: The ids of all tasks that were created.
        deleted: The ids of all tasks that were deleted.
        repeated: How many creations were of an id that existed.
    """

    stores: Sequence[TaskStore]
    noted: Noted
    seed: int
    faults: list[str] = field(default_factory=list)
    created: dict[str, None] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    repeated: int = 0
    _missed: set[str] = field(default_factory=set)
    _holders: dict[str, str] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _until: float = 0.0

    def __str__(self) -> str:
        return f"ONCETASK_RACE_SEED={self.seed}, {len(self.created)} tasks: {self.faults or 'nothing is wrong'}"

    @property
    def has_repeated(self) -> bool:
        """Whether enough creations were repeated for the bustle to say something of them."""
        return self.repeated > REPEATED / 2 * len(self.created) > 1

    async def run(self, seconds: float) -> list[str]:
        """Let everybody act, with pauses, and then drain; return what was wrong, at the latest in the next pause.

        Args:
            seconds: How long everybody acts at least; longer where that repeats too few creations.
        """
        first, *_, last = self.stores
        roles = [(role, store) for store in self.stores for role in (self._produce, self._work)]
        least = math.ceil(seconds / UNTIL_PAUSE)
        for number in range(SLOWEST * least):
            if number >= least and self.has_repeated:
                break
            await self._act([*roles, (self._administer, first), (self._expire, last)], seconds=UNTIL_PAUSE)
            await self._act([(self._tidy, first)], seconds=DRAINED)
            self.faults += await faults_at_rest(first, noted=self.noted())
            if self.faults:
                return self.faults
        await self._act(
            [(role, store) for store in self.stores for role in (self._drain, self._expire)], seconds=DRAINED
        )
        self.faults += [*await faults_at_rest(first, noted=self.noted()), *await self._look_back()]
        return self.faults

    async def _act(self, roles: Iterable[tuple[Role, TaskStore]], *, seconds: float) -> None:
        """Let everybody take one turn after the other until the time is over or a fault is found."""
        self._until = time.monotonic() + seconds

        async def play(role: Role, store: TaskStore) -> None:
            chance = random.Random(f"{self.seed} {next(self._numbers)}")
            while time.monotonic() < self._until and not self.faults:
                try:
                    await role(store, chance)
                except StoreUnavailableError:
                    continue  # somebody was in the way, and nothing was written
                except StoreError as error:
                    self.faults.append(f"{role.__name__}: {error!r}")

        await asyncio.gather(*(play(role, store) for role, store in roles))

    # What one turn of everybody is

    async def _produce(self, store: TaskStore, chance: random.Random) -> None:
        if await store.count(TaskFilter(live=True)) > BACKLOG:
            await asyncio.sleep(MOMENT)
            return
        tasks = [self._new_or_known(chance) for _ in range(chance.randint(1, 4))]
        answers = await store.insert(tasks)
        self.created |= dict.fromkeys(answer.id for answer in answers if answer.created)
        self.repeated += sum(not answer.created for answer in answers)

    def _new_or_known(self, chance: random.Random) -> NewTask:
        number = next(self._numbers)
        known = self.created and chance.random() < REPEATED
        name = chance.choice(list(self.created)) if known else f"t{number} of k{number % KEYS}"
        return NewTask(
            id=name,
            kind=KIND,
            payload="{}",
            run_uid=f"run {number}",
            created_by=f"call {number}",
            resource_key=name.rpartition(" ")[2],
            wait_until=datetime.now(UTC) - timedelta(seconds=chance.uniform(0, 60)),
        )

    async def _work(self, store: TaskStore, chance: random.Random) -> None:
        is_slow = chance.random() < SLOW
        lease = f"lease {next(self._numbers)}"
        claim = Claim(
            lease_uid=lease,
            leased_by="worker",
            lease_for=SHORT if is_slow else timedelta(hours=1),
            slots={KIND: Slots(limit=2, group=chance.choice((1, 3)))},
            suspects=chance.random() < SUSPECTS,
        )
        tasks = (await store.claim(claim)).tasks
        keys = set() if is_slow else {str(task.resource_key) for task in tasks}
        for key in keys:
            holder = self._holders.setdefault(key, lease)
            self.faults += [f"{key} is held by {holder} and {lease}"] if holder != lease else []
        await asyncio.sleep(chance.uniform(0, 2) * SHORT.total_seconds() if is_slow else MOMENT)
        for key in keys:
            self._holders.pop(key, None)
        if not is_slow or chance.random() >= VANISHED:
            await self._report(store, tasks, chance, may_be_late=is_slow)

    async def _report(
        self, store: TaskStore, tasks: Sequence[Task], chance: random.Random, *, may_be_late: bool
    ) -> None:
        """Report tasks over two stores at once, in two parts."""
        half = chance.randint(0, len(tasks))
        reports = [(task, _some_report(chance)) for task in tasks]
        replies = await asyncio.gather(
            report(store, reports[:half], RULES), report(chance.choice(self.stores), reports[half:], RULES)
        )
        refused = [refusal for refusals in replies for refusal in refusals]
        if may_be_late:
            self._missed |= {refusal.task_id for refusal in refused if refusal.verdict is Verdict.MISSING}
            refused = [refusal for refusal in refused if refusal.verdict not in LATE]
        self.faults += [f"a holder was told: {refusal}" for refusal in refused]

    async def _expire(self, store: TaskStore, chance: random.Random) -> None:
        await expire(store, RULES)
        await asyncio.sleep(chance.uniform(0, 1) * SHORT.total_seconds())

    async def _administer(self, store: TaskStore, chance: random.Random) -> None:
        await administer(store, chance, self.deleted)
        await asyncio.sleep(0.01)

    async def _tidy(self, store: TaskStore, chance: random.Random) -> None:
        """Expire until nothing is held."""
        await self._expire(store, chance)
        if not any(task.lease_uid is not None for task in await everything(store)):
            self._until = time.monotonic()

    async def _drain(self, store: TaskStore, chance: random.Random) -> None:
        await self._work(store, chance)
        if not await store.count(TaskFilter(live=True)):
            self._until = time.monotonic()

    async def _look_back(self) -> list[str]:
        """Return what was left or lost."""
        found = {task.id: task for task in await everything(self.stores[0])}
        lost = self.created.keys() - self.deleted - found.keys()
        left = {name for name, task in found.items() if task.is_live}
        wrong = {
            name
            for name, task in found.items()
            if not task.is_cancelled and not task.is_live and task.outcome is not Outcome.COMPLETED
        }
        unexplained = self._missed - self.deleted
        named = {
            "lost": lost,
            "missed, and not deleted": unexplained,
            "left": left,
            "neither cancelled nor completed": wrong,
        }
        return [f"{what}: {sorted(names)}" for what, names in named.items() if names]


def _some_report(chance: random.Random) -> Report:
    others: list[Report] = [
        Released(),
        Snoozed(timedelta(0)),
        Failure(error=ValueError("no"), text="no", at=datetime.now(UTC), delay=timedelta(0)),
    ]
    return Success("null") if chance.random() < 0.7 else chance.choice(others)


def play(url: str, noted: Noted, *, seconds: float, mistake: AbstractContextManager[object] | None = None) -> Bustle:
    """Play a bustle on new tables, with a mistake planted; return what is known afterwards."""

    async def run() -> Bustle:
        stores = [store_from_url(url, env="RACE", clock=None) for _ in range(STORES)]
        bustle = Bustle(stores, noted, seed_of_this_run())
        for store in stores:
            await store.open()
        with mistake or nullcontext():
            await bustle.run(seconds)
        for store in stores:
            await store.close()
        return bustle

    return asyncio.run(run())


def check_nothing_is_wrong(bustle: Bustle) -> None:
    """Fail where a key had not its seat in a pause, where two held one, and where tasks were left or lost."""
    assert not bustle.faults, f"{bustle}"
    assert bustle.has_repeated


def check_is_seen(bustle: Bustle, fault: str) -> None:
    """Fail unless the fault was found: the negative control."""
    assert any(fault in found for found in bustle.faults), f"{bustle}"
