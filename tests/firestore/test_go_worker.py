"""The stand-in of the Go worker writes what the Go library wrote: its documents, field by field and type by type."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from oncetask_core.clock import VirtualClock
from tests.asynchronous import asynchronous
from tests.firestore.go_calls import GoManager
from tests.firestore.go_modelled import ModelStatements
from tests.firestore.go_statements import ClientStatements, Statements
from tests.firestore.go_worker import GoWorker, Kind, Policy
from tests.firestore.golang import Fields
from tests.firestore.modelled import Model
from tests.firestore.stored import GO_DOCUMENTS, go_document, message_of
from tests.firestore.world import looking, needs_server, new_project

MINUTE = timedelta(minutes=1)
RETRIED = Policy(max_attempts=2, base=timedelta(seconds=3))
RESULTS = ("bool", "float", "int", "list", "map", "nil", "str")


class Scene:
    """One Go process at the times that a document tells."""

    def __init__(self, statements: Statements, name: str) -> None:
        self.expected = go_document(name)
        self.id: str = self.expected["id"]
        self.clock = VirtualClock(datetime.fromisoformat(self.expected["createdAt"]))
        self.statements = statements
        self.manager = GoManager(statements, self.clock)
        self.worker = GoWorker(statements, self.clock)
        self.outcomes: list[object] = []
        """What the handler raises or returns, one after the other."""

    async def created(self, **options: Any) -> None:
        """Create the task that the document is about."""
        data, at = self.expected["data"], datetime.fromisoformat(self.expected["data"]["at"])
        options |= {} if at.year == 1 else {"at": at}
        assert await self.manager.create(
            self.id, self.expected["type"], data, key=self.expected["resourceKey"], **options
        )

    async def run(self, **options: Any) -> None:
        """Run one iteration of the loop of the document's kind."""
        defaults: dict[str, Any] = {"cleanup": self._handle, "policy": RETRIED}
        kind = Kind(self.expected["type"], self._handle, **(defaults | options))
        assert await self.worker.turn(kind)
        assert self.worker.log == []

    async def _handle(self, _: list[Fields]) -> object:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def leased(self, lease: timedelta, **options: Any) -> None:
        """Claim, and leave it at that."""
        claimed = await self.worker.claim(Kind(self.expected["type"], self._handle, lease=lease, **options))
        assert self.id in {task["id"] for task in claimed}

    def at(self, text: str) -> None:
        """Go on to a time that the document tells."""
        self.clock.advance(datetime.fromisoformat(text) - self.clock.now())

    async def ends_as_expected(self) -> None:
        """Compare what is stored with what the Go library wrote."""
        stored = (await self.statements.get([self.id]))[self.id]
        assert stored == self.expected
        assert message_of(stored) == message_of(self.expected)


async def created(scene: Scene) -> None:
    await scene.created(rule=scene.expected["recurrence"])


async def cancelled(scene: Scene) -> None:
    await scene.created()
    assert await scene.manager.cancel([scene.id, "unknown"]) == 1


async def leased(scene: Scene) -> None:
    await scene.created()
    await scene.leased(MINUTE)


async def completed(scene: Scene) -> None:
    await scene.created()
    scene.at(scene.expected["doneAt"])
    scene.outcomes = [scene.expected["result"]]
    await scene.run()


async def backed_off(scene: Scene) -> None:
    await scene.created()
    scene.outcomes = [RuntimeError(scene.expected["errors"][0]["error"])]
    await scene.run()


async def retried(scene: Scene) -> None:
    await backed_off(scene)
    scene.at(scene.expected["doneAt"])
    scene.outcomes = [scene.expected["result"]]
    await scene.run()


async def failed(scene: Scene) -> None:
    """The document was kept after its second failure, which another attempt follows."""
    await scene.created()
    for error in scene.expected["errors"]:
        scene.at(error["at"])
        scene.outcomes = [RuntimeError(error["error"])]
        await scene.run(policy=Policy(max_attempts=0, multiplier=1.0))


async def reset(scene: Scene) -> None:
    await scene.created()
    scene.outcomes = [RuntimeError("boom")]
    await scene.run(policy=Policy(max_attempts=1))
    assert await scene.manager.reset([scene.id]) == 1
    assert await scene.manager.reset([scene.id]) == 0


async def cancelled_and_run(scene: Scene) -> None:
    await scene.created()
    scene.at(scene.expected["cancelledAt"])
    assert await scene.manager.cancel([scene.id]) == 1
    for error in scene.expected["errors"] or ():
        scene.at(error["at"])
        scene.outcomes = [RuntimeError(error["error"])]
        await scene.run()
    scene.at(scene.expected["doneAt"])
    scene.outcomes = [scene.expected["result"]]
    await scene.run()


async def ticked(scene: Scene) -> None:
    await created(scene)
    await scene.run()


async def occurred(scene: Scene) -> None:
    generator = go_document("16-generator-ticked" if scene.expected["resourceKey"] else "18-generator-ticked-offset")
    scene.expected, of_occurrence = generator, scene.expected
    scene.id = generator["id"]
    await created(scene)
    await scene.run()
    scene.expected, scene.id, scene.outcomes = of_occurrence, of_occurrence["id"], [None]
    await scene.run()


async def grouped(scene: Scene) -> None:
    for number in (1, 2):
        member = {"id": f"g{number}", "data": scene.expected["data"] | {"id": f"g{number}"}}
        scene.expected, kept = scene.expected | member, scene.expected
        scene.id = scene.expected["id"]
        await scene.created()
        scene.expected, scene.id = kept, kept["id"]


async def group_leased(scene: Scene) -> None:
    await grouped(scene)
    await scene.leased(10 * MINUTE, by_key=True)


async def group_failed(scene: Scene) -> None:
    await grouped(scene)
    scene.outcomes = [RuntimeError("group boom")]
    await scene.run(by_key=True, policy=Policy(base=timedelta(seconds=2)))


async def group_completed(scene: Scene) -> None:
    await group_failed(scene)
    scene.at(scene.expected["doneAt"])
    scene.outcomes = [{"members": 2}]
    await scene.run(by_key=True)


LIVES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "01-new": created,
    "02-scheduled": created,
    "03-keyed": created,
    "04-cancellation-pending": cancelled,
    "05-generator-new": created,
    "06-generator-exdates-offset": created,
    "07-leased": leased,
    "08-completed-struct-result": completed,
    "09-backoff": backed_off,
    **{f"10-completed-r-{name}": completed for name in RESULTS},
    "11-completed-after-retry": retried,
    "12-failed": failed,
    "13-reset": reset,
    "14-cancelled-no-handler": cancelled_and_run,
    "15-cancelled-after-cleanup": cancelled_and_run,
    "16-generator-ticked": ticked,
    "17-generator-ended": ticked,
    "18-generator-ticked-offset": ticked,
    "19-occurrence-of-daily": occurred,
    "19-occurrence-of-offset-generator": occurred,
    "20-group-leased-member-1": group_leased,
    "20-group-leased-member-2": group_leased,
    "21-group-backoff": group_failed,
    "22-group-completed": group_completed,
}


@pytest.mark.parametrize("name", sorted(LIVES))
@asynchronous
async def test_it_writes_the_documents_of_the_go_library(name: str) -> None:
    """Into the model of Firestore."""
    scene = Scene(ModelStatements(Model(VirtualClock())), name)
    await LIVES[name](scene)
    await scene.ends_as_expected()


@pytest.mark.parametrize("name", sorted(LIVES))
@needs_server
@asynchronous
async def test_it_writes_them_to_firestore(name: str) -> None:
    """By Google's client, to the emulator."""
    async with looking(new_project()) as client:
        scene = Scene(ClientStatements(client), name)
        await LIVES[name](scene)
        await scene.ends_as_expected()


def test_no_document_is_left_out() -> None:
    """Each has a life that leads to it."""
    assert set(LIVES) == {path.stem for path in GO_DOCUMENTS.glob("*.json")}
