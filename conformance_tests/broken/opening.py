"""Stores that are broken as a whole: their clock, their opening and closing, several users at once."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from broken.plain import PlainStore, Task
from oncetask_core.store import Found
from oncetask_core.task import NewTask
from oncetask_core.transition import Inserted


class TimeWithoutAZone(PlainStore):
    """The store's time does not say in which zone it is."""

    async def now(self) -> datetime:
        return (await super().now()).replace(tzinfo=None)


class TimeRunsBackwards(PlainStore):
    """Every answer about the time is earlier than the one before."""

    async def now(self) -> datetime:
        asked: int = self.__dict__.setdefault("_asked", 0)
        self.__dict__["_asked"] = asked + 1
        return await super().now() - timedelta(seconds=asked)


class OwnTime(PlainStore):
    """The injected clock is not looked at."""

    async def now(self) -> datetime:
        return datetime.now(UTC)


class ForgetsOnClosing(PlainStore):
    """A store that is closed loses its tasks."""

    async def close(self) -> None:
        self.storage.tasks.clear()


class OpensOnce(PlainStore):
    """A store cannot be opened again, nor closed twice."""

    async def close(self) -> None:
        if self.__dict__.get("_closed"):
            raise RuntimeError("closed already")
        self.__dict__["_closed"] = True

    async def get(self, ids: Collection[str]) -> Found:
        if self.__dict__.get("_closed"):
            raise RuntimeError("closed")
        return await super().get(ids)


class MigrationBeginsAnew(PlainStore):
    """A migration empties the tables."""

    async def migrate(self) -> None:
        self.storage.tasks.clear()


class BoundToItsLoop(PlainStore):
    """A store serves the event loop that opened it, and no other."""

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()

    def put(self, task: Task) -> Task:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("attached to a different loop")
        return super().put(task)


class OneAtATime(PlainStore):
    """Concurrent calls are refused."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        if self.storage.tokens.get(("busy", "")):
            raise RuntimeError("busy")
        self.storage.tokens["busy", ""] = 1
        await asyncio.sleep(0)
        self.storage.tokens["busy", ""] = 0
        return await super().insert(tasks)


class InsertsInTwoSteps(PlainStore):
    """Whether an id exists is looked up before the insert, and not by it."""

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        known = {new.id: self.one(new.id) for new in tasks}
        await asyncio.sleep(0)
        for new in tasks:
            if known[new.id] is None:
                self.storage.tasks.pop((self.env, new.id), None)
        return await super().insert(tasks)


class UnknownCapability(PlainStore):
    """A store boasts of what the port does not know."""

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"exactly_once"})


class NameOfTheDatabase(PlainStore):
    """A store does not know its environment."""

    def __init__(self, env: str, **options: object) -> None:
        super().__init__(env, **options)  # type: ignore[arg-type]  # passed through
        self.env = env.lower()
