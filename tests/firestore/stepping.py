"""Statements one by one: everybody stops before each of theirs, and a seeded choice says who goes on."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from google.api_core.exceptions import ServiceUnavailable

from oncetask_core.clock import VirtualClock
from oncetask_firestore.messages import Query
from tests.firestore.go_statements import Change, Statements, Transaction
from tests.firestore.golang import Fields

T = TypeVar("T")

NAME: ContextVar[str] = ContextVar("NAME")
"""Who is running."""
CALM = 12
"""For how many turns of the event loop nobody comes to a stop before all are at rest."""
STEPS = 3000
"""How many statements a run has at most."""
PAUSE = 0.05
"""Seconds for which a statement is waited for that may be waiting for another one at the server."""
PASSES = (0.0, 0.005, 0.02, 0.05)
"""How likely it may be that time passes before a statement."""
LOST = 0.03
"""How likely it is that the reply to a commit of ours is lost."""
LAPSES = (0.25, 1.0, 4.0, 31.0)
"""Seconds that may pass."""


def always() -> bool:
    """Let go on."""
    return True


@dataclass(eq=False)
class Stop:
    """Somebody before a statement."""

    who: str
    what: str
    may: Callable[[], bool]
    go: "asyncio.Future[None]"


class Steps:
    """Who stops, and goes on.

    Args:
        seed: What every choice follows from.
        clock: The time, which passes by choice, too, and when nobody can go on.
        looked: Called when a statement is over.
    """

    def __init__(self, seed: int, clock: VirtualClock, *, looked: Callable[[], None] = lambda: None) -> None:
        self.chance = random.Random(seed)
        self.trace: list[str] = []
        self._passes = self.chance.choice(PASSES)
        self._clock = clock
        self._looked = looked
        self._stops: list[Stop] = []
        self._under_way = 0
        self._free = False

    async def stop(self, what: str, may: Callable[[], bool] = always) -> None:
        """Wait for the next turn of whoever is running."""
        if self._free:
            return
        stop = Stop(NAME.get(), what, may, asyncio.get_running_loop().create_future())
        self._stops.append(stop)
        await stop.go

    async def statement(self, what: str, said: Callable[[], Awaitable[Any]], may: Callable[[], bool] = always) -> Any:
        """Say a statement when it is the speaker's turn."""
        await self.stop(what, may)
        return await self.at_once(said)

    async def at_once(self, said: Callable[[], Awaitable[T]]) -> T:
        """Say what nobody else has to wait for; until it is answered, nobody is at rest."""
        self._under_way += 1
        try:
            return await said()
        finally:
            self._under_way -= 1

    async def play(self, actors: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Let everybody act until all have ended; raise what one of them raises."""
        tasks = [asyncio.create_task(_named(name, actor), name=name) for name, actor in actors.items()]
        try:
            for _ in range(STEPS):
                await self._rest()
                ended = [task for task in tasks if task.done()]
                for task in ended:
                    task.result()
                if len(ended) == len(tasks):
                    return
                self._step()
            raise AssertionError("they never end")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._stops.clear()

    def play_out(self) -> None:
        """Let everybody say what they have to, from now on."""
        self._free = True

    async def _rest(self) -> None:
        """Wait until everybody has stopped, or waits for somebody who has."""
        calm, stops = 0, -1
        deadline = asyncio.get_running_loop().time() + PAUSE
        while calm < CALM:
            waits = self._under_way and asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.0005 if waits else 0)
            calm = 0 if waits or len(self._stops) != stops else calm + 1
            stops = len(self._stops)
        self._looked()

    def _step(self) -> None:
        if self.chance.random() < self._passes:
            self._pass(self.chance.choice(LAPSES))
        ready = [stop for stop in self._stops if stop.may()]
        if not ready and self._under_way:
            return
        if not ready:
            self._pass(1.0)
            return
        stop = self.chance.choice(sorted(ready, key=lambda one: (one.who, one.what)))
        self._stops.remove(stop)
        self.trace.append(f"{stop.who}: {stop.what}")
        stop.go.set_result(None)

    def _pass(self, seconds: float) -> None:
        self.trace.append(f"{seconds} s pass")
        self._clock.advance(seconds)


async def _named(name: str, actor: Coroutine[Any, Any, None]) -> None:
    NAME.set(name)
    await actor


class SteppedChannel:
    """The channel of one of our stores."""

    def __init__(self, channel: Any, steps: Steps, is_blocked: Callable[[Any], bool] = lambda _: False) -> None:
        self._channel = channel
        self._steps = steps
        self._is_blocked = is_blocked
        self.path = channel.path
        self.close = channel.close

    async def commit(self, writes: Iterable[Any]) -> Any:
        every = list(writes)
        names = [write.delete or write.update.name for write in every]
        what = f"commit {[name.rpartition('/')[2] for name in names]}"

        async def said() -> Any:
            times = await self._channel.commit(every)
            if self._steps.chance.random() < LOST:
                self._steps.trace.append("and the reply is lost")
                raise lost("its reply was lost")
            return times

        return await self._steps.statement(what, said, lambda: not self._is_blocked(every))

    async def get(self, collection: str, names: Iterable[str]) -> Any:
        wanted = list(names)
        return await self._steps.statement(f"get {wanted}", lambda: self._channel.get(collection, wanted))

    async def find(self, query: Query) -> Any:
        return await self._steps.statement(_told(query), lambda: self._channel.find(query))

    async def count(self, query: Query) -> Any:
        return await self._steps.statement(_told(query), lambda: self._channel.count(query))


class SteppedStatements:
    """The statements of a Go process."""

    def __init__(
        self, statements: Statements, steps: Steps, is_blocked: Callable[..., bool] = lambda _, __: False
    ) -> None:
        self._statements = statements
        self._steps = steps
        self._is_blocked = is_blocked

    async def begin(self) -> Transaction:
        transaction = await self._steps.at_once(self._statements.begin)
        return _SteppedTransaction(transaction, self._steps, self._is_blocked)

    async def find(self, query: Query) -> list[str]:
        found: list[str] = await self._steps.statement(_told(query), lambda: self._statements.find(query))
        return found

    async def get(self, names: Sequence[str]) -> Mapping[str, Fields]:
        found: Mapping[str, Fields] = await self._steps.statement(f"get {names}", lambda: self._statements.get(names))
        return found

    async def write(self, change: Change) -> None:
        await self._steps.statement(
            f"write {change.name}",
            lambda: self._statements.write(change),
            lambda: not self._is_blocked([change], None),
        )


class _SteppedTransaction:
    def __init__(self, transaction: Transaction, steps: Steps, is_blocked: Callable[..., bool]) -> None:
        self._transaction = transaction
        self._steps = steps
        self._is_blocked = is_blocked

    async def find(self, query: Query) -> list[str]:
        found: list[str] = await self._steps.statement(
            f"{_told(query)} in a transaction", lambda: self._transaction.find(query)
        )
        return found

    async def get(self, names: Sequence[str]) -> list[Fields]:
        found: list[Fields] = await self._steps.statement(
            f"get {names} in a transaction", lambda: self._transaction.get(names)
        )
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        names = [change.name for change in changes]
        await self._steps.statement(f"commit {names} of a transaction", lambda: self._transaction.commit(changes))

    async def rollback(self) -> None:
        await self._steps.at_once(self._transaction.rollback)


def lost(text: str) -> Exception:
    """Return what a client raises that knows nothing of its request."""
    error: Any = ServiceUnavailable
    unknown: Exception = error(text)
    return unknown


def _told(query: Query) -> str:
    return f"find {' '.join(f'{field}{how}{value}' for field, how, value in query.conditions)}"
