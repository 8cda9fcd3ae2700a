"""A worker of the Go library for tests, from its specification alone: how it claims and settles, defects included.

Nothing is fenced: whoever claimed a task writes its end, whatever has become of the task since. One task whose key is
busy stops the kind; a retry, a cancellation and a lease that ran out wait for the poll.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.api_core.exceptions import Aborted, GoogleAPICallError, NotFound

from oncetask_core.clock import Clock
from oncetask_firestore.messages import Query
from tests.firestore import go_rules, golang
from tests.firestore.go_statements import TASKS, Change, Statements, Transaction
from tests.firestore.golang import TYPES, Fields, text

T = TypeVar("T")
Handler = Callable[[list[Fields]], Awaitable[object]]
"""Handles one task, or the tasks of a key; what it raises is a failure."""

POLL_SECONDS = 60.0
TRIES = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


async def nothing(_: list[Fields]) -> None:
    """Handle the cancellation of a kind that has no handler for it."""


@dataclass(frozen=True)
class Policy:
    """How often a task is tried, and after which delays.

    Attributes:
        max_attempts: Executions in total; 0 means without end.
        base: The first delay.
        cap: The longest delay after the first.
        multiplier: The growth from one delay to the next.
    """

    max_attempts: int = 3
    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(minutes=5)
    multiplier: float = 2.0

    def delay(self, attempts: int) -> timedelta | None:
        """Return the delay before the next attempt, or None if there is none."""
        if self.max_attempts and attempts >= self.max_attempts:
            return None
        return self.base if attempts <= 1 else min(self.base * self.multiplier ** (attempts - 1), self.cap)


CLEANUP_POLICY = Policy(max_attempts=5, cap=timedelta(minutes=10))


@dataclass(frozen=True)
class Kind:
    """A kind with its one handler.

    Attributes:
        name: Its name.
        handler: What runs.
        by_key: Whether the handler takes all tasks of a key at once.
        policy: After failures.
        cleanup: What runs for a cancelled task.
        cleanup_policy: After failures of cancelled tasks.
        lease: How long a claim lasts; nothing renews it.
    """

    name: str
    handler: Handler
    by_key: bool = False
    policy: Policy = Policy()
    cleanup: Handler = nothing
    cleanup_policy: Policy = CLEANUP_POLICY
    lease: timedelta = timedelta(minutes=10)

    def delay(self, fields: Fields) -> timedelta | None:
        """Return the delay after a failure, by the attempts of whatever sort."""
        return (self.cleanup_policy if fields["isCancelled"] else self.policy).delay(fields["attempts"])


class NotAvailableError(Exception):
    """The candidate, or its key, is leased."""


class UnreadableError(Exception):
    """A document has a value of a type that Go does not expect there."""


class GoWorker:
    """One loop of a Go process.

    Args:
        statements: The database.
        clock: Its host's clock.
        env: Its environment.
        sleep: Waits between the tries of a transaction; by the clock when not given.
    """

    def __init__(
        self,
        statements: Statements,
        clock: Clock,
        *,
        env: str = "DEFAULT",
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._statements = statements
        self._clock = clock
        self._env = env
        self._sleep = clock.sleep if sleep is None else sleep
        self.wake = asyncio.Event()
        """Set by a create or reset of the same process."""
        self.log: list[str] = []
        """What it logs, and does not do anything about."""

    async def run(self, kind: Kind) -> None:
        """Claim and run for ever: at once while there is something, else at the next minute of its own."""
        tick = self._clock.monotonic() + POLL_SECONDS
        while True:
            while await self.turn(kind):
                pass
            if self._clock.monotonic() < tick:
                await self._woken(tick - self._clock.monotonic())
            while tick <= self._clock.monotonic():
                tick += POLL_SECONDS

    async def _woken(self, seconds: float) -> None:
        waits = {asyncio.ensure_future(self.wake.wait()), asyncio.ensure_future(self._clock.sleep(seconds))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self.wake.clear()

    async def turn(self, kind: Kind) -> bool:
        """Claim once and run what was claimed; return whether there was anything."""
        tasks = await self.claim(kind)
        if not tasks:
            return False
        generators = [task for task in tasks if task["recurrence"] is not None]
        rest = [task for task in tasks if task["recurrence"] is None]
        for generator in generators:
            await self._tick(generator)
        for task in rest:
            if task["isCancelled"]:
                await self._handle(kind, [task], kind.cleanup)
        normal = [task for task in rest if not task["isCancelled"]]
        if normal:
            await self._handle(kind, normal, kind.handler)
        return True

    async def claim(self, kind: Kind) -> list[Fields]:
        """Return what one claim leases; nothing also where the first candidate or its key is leased, and on errors."""
        try:
            return await self._in_transaction(lambda transaction: self._claim(transaction, kind))
        except (NotAvailableError, UnreadableError, GoogleAPICallError) as error:
            self.log.append(f"claim: {error!r}")
            return []

    async def _claim(self, transaction: Transaction, kind: Kind) -> tuple[list[Fields], list[Change]]:
        now = self._clock.now()
        due = (("doneAt", "==", ""), ("waitUntil", "<=", text(now)))
        of_kind = Query(TASKS).where(("env", "==", self._env), ("type", "==", kind.name))
        first = of_kind.where(*due, ("leasedUntil", "<=", text(now))).order_by("leasedUntil", "waitUntil").limit(1)
        candidates = await transaction.get(await transaction.find(first))
        if not candidates:
            return [], []
        (candidate,) = candidates
        check_readable(candidate)
        if is_leased(candidate, now):
            raise NotAvailableError(candidate["id"])
        tasks, key = [candidate], candidate["resourceKey"]
        of_key = of_kind.where(("resourceKey", "==", key))
        if kind.by_key and key:
            tasks = await transaction.get(await transaction.find(of_key.where(*due).order_by("waitUntil")))
            for task in tasks:
                check_readable(task)
            if any(is_leased(task, now) for task in tasks):
                raise NotAvailableError(key)
        elif key:
            active = of_key.where(("doneAt", "==", ""), ("leasedUntil", ">", text(now))).limit(1)
            if await transaction.find(active):
                raise NotAvailableError(key)
        until = {"leasedUntil": text(now + kind.lease)}
        changes = [Change(task["id"], until, claims=1) for task in tasks]
        return [task | golang.claim(task, now, kind.lease) for task in tasks], changes

    async def _handle(self, kind: Kind, tasks: list[Fields], handler: Handler) -> None:
        try:
            result = await handler(tasks)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its task's failure
            await self.settle(kind, tasks, error=str(error))
        else:
            await self.settle(kind, tasks, result=result)

    async def settle(
        self, kind: Kind, tasks: Sequence[Fields], *, result: object = None, error: str | None = None
    ) -> None:
        """Write the end of an execution over whatever is there now; one missing document voids it for all."""

        async def body(transaction: Transaction) -> tuple[None, list[Change]]:
            names = [task["id"] for task in tasks]
            fresh = await transaction.get(names)
            if len(fresh) < len(names):
                raise missing(names)
            now = self._clock.now()
            if error is None:
                return None, [Change(one["id"], golang.complete(one, now, result)) for one in fresh]
            return None, [Change(one["id"], golang.fail(one, now, kind.delay(one), error=error)) for one in fresh]

        try:
            await self._in_transaction(body)
        except GoogleAPICallError as failure:
            self.log.append(f"completion: {failure!r}")

    async def _tick(self, generator: Fields) -> None:
        """Create the occurrence of the slot that is due, then move the generator: two writes, neither is fenced."""
        now, name = self._clock.now(), generator["id"]
        if generator["isCancelled"]:
            await self._write(Change(name, {"doneAt": text(now), "leasedUntil": ""}))
            return
        occurrence = go_rules.occurrence_of(generator, now)
        await self._write(Change(occurrence["id"], occurrence, is_new=True))
        following = go_rules.next_slot(generator["recurrence"], now + timedelta(seconds=1))
        moved = {"doneAt": text(now)} if following is None else {"waitUntil": following}
        await self._write(Change(name, {"leasedUntil": ""} | moved))

    async def _write(self, change: Change) -> None:
        try:
            await self._statements.write(change)
        except GoogleAPICallError as error:
            self.log.append(f"generator: {error!r}")

    async def _in_transaction(self, body: Callable[[Transaction], Awaitable[tuple[T, list[Change]]]]) -> T:
        pause = FIRST_PAUSE
        for number in range(1, TRIES + 1):
            transaction = await self._statements.begin()
            try:
                value, changes = await body(transaction)
            except BaseException:
                with suppress(GoogleAPICallError):  # what went wrong before counts
                    await transaction.rollback()
                raise
            try:
                await transaction.commit(changes)
            except Aborted:
                if number == TRIES:
                    raise
            else:
                return value
            await self._sleep(random.uniform(0, pause))
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")


def missing(names: Sequence[str]) -> Exception:
    """Return the error of a batch of which a document is gone."""
    error: Any = NotFound
    found: Exception = error(str(names))
    return found


def check_readable(fields: Fields) -> None:
    """Refuse what Go cannot parse; what is missing or null reads as empty.

    Raises:
        UnreadableError: Names the field.
    """
    for name, types in TYPES.items():
        value = fields.get(name)
        is_flag = isinstance(value, bool) and types == (int,)
        if value is not None and (is_flag or not isinstance(value, types)):
            raise UnreadableError(f"{name} is {value!r}")


def is_leased(fields: Fields, now: datetime) -> bool:
    """Return whether a lease has not run out."""
    until = fields["leasedUntil"]
    return bool(until) and datetime.fromisoformat(until).astimezone(UTC) > now
