"""One random order of the statements of a mixed fleet, on a model of Firestore or on Firestore itself."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from firestore_rules import faults
from google.cloud.firestore_v1 import AsyncClient

from oncetask_core.clock import VirtualClock
from oncetask_firestore import FirestoreStore
from oncetask_firestore.channel import Channel
from oncetask_firestore.reading import Moments, read
from tests.firestore import golang
from tests.firestore.go_calls import GoManager
from tests.firestore.go_modelled import ModelStatements, put_of
from tests.firestore.go_statements import TASKS, Change, ClientStatements, Statements
from tests.firestore.go_worker import GoWorker
from tests.firestore.golang import Fields
from tests.firestore.mixed import KIND, Ours, Theirs, Watch, ask
from tests.firestore.modelled import Model, ModelChannel, Reads, puts_of
from tests.firestore.stepping import SteppedChannel, SteppedStatements, Steps

START = datetime(2030, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TASKS_AND_KEYS = {"a": "k1", "b": "k1", "c": "k1", "d": "k2", "e": "k2", "f": "", "g": ""}
RULE: Fields = {"rrule": "FREQ=MINUTELY;COUNT=3", "dtstart": "2030-01-01T00:00:00Z", "exdates": None}
IDS = (*TASKS_AND_KEYS, "generator")
DRAINED = 60
"""After how many rounds everything is done at the latest."""


class Ground(Protocol):
    """Where a run takes place: a database, and how both sides' statements to it are made to wait for their turns."""

    clock: VirtualClock
    steps: Steps
    go_workers: int
    wrong: list[str]
    """What was wrong with documents as they were written."""

    def channel(self, *given: Any) -> SteppedChannel:
        """Return the channel of a store of ours."""
        ...

    def statements(self) -> Statements:
        """Return what a Go process says, step by step."""
        ...

    def plain(self) -> Statements:
        """Return what a Go process says at once."""
        ...

    async def documents(self, names: Collection[str] | None = None) -> Mapping[str, Fields]:
        """Return all tasks, or some, by name."""
        ...


class ModelGround:
    """A run on the model; whatever is written is looked at on the spot.

    Args:
        seed: What all choices follow from, that of how transactions are isolated included.
        phantoms: Whether transactions miss what comes to match their queries, which those of Firestore do not.
    """

    def __init__(self, seed: int, *, phantoms: bool = False) -> None:
        self.clock = VirtualClock(START)
        self.steps = Steps(seed, self.clock, looked=self._look)
        self.go_workers = 2
        self.wrong: list[str] = []
        self._model = Model(self.clock, locks=seed % 2 == 0, phantoms=phantoms)
        self._known: dict[str, int] = {}

    def channel(self, *_: object) -> SteppedChannel:
        model = self._model
        return SteppedChannel(ModelChannel(model), self.steps, lambda writes: model.is_blocked(puts_of(writes)))

    def statements(self) -> Statements:
        return SteppedStatements(self.plain(), self.steps, self._is_blocked)

    def _is_blocked(self, changes: list[Change], reads: Reads | None) -> bool:
        return self._model.is_blocked([put_of(change) for change in changes], reads)

    def plain(self) -> Statements:
        return ModelStatements(self._model)

    async def documents(self, names: Collection[str] | None = None) -> Mapping[str, Fields]:
        kept = {name: kept.fields for (where, name), kept in self._model.documents.items() if where == TASKS}
        return {name: fields for name, fields in kept.items() if names is None or name in names}

    def _look(self) -> None:
        """Judge what was written since the last look."""
        for (collection, name), kept in self._model.documents.items():
            if collection == TASKS and self._known.get(name) != kept.updated:
                self._known[name] = kept.updated
                found = judged(name, kept.fields, Moments(kept.created, kept.updated), now=self.clock.now())
                self.wrong += [f"{name}: {fault}" for fault in found]


class ServerGround:
    """A run on Firestore; documents are looked at in the end.

    Args:
        seed: What all choices follow from; what a statement waits for at the server is not chosen.
        client: A client of Google's.
    """

    def __init__(self, seed: int, client: AsyncClient) -> None:
        self.clock = VirtualClock(START)
        self.steps = Steps(seed, self.clock)
        self.go_workers = 1 + seed % 2  # two often lock each other out for seconds
        self.wrong: list[str] = []
        self._client = client

    def channel(self, *given: Any) -> SteppedChannel:
        return SteppedChannel(Channel(*given), self.steps)

    def statements(self) -> Statements:
        return SteppedStatements(self.plain(), self.steps)

    def plain(self) -> Statements:
        return ClientStatements(self._client)

    async def documents(self, names: Collection[str] | None = None) -> Mapping[str, Fields]:
        found = await self.steps.at_once(self._client.collection(TASKS).get)
        return {one.id: one.to_dict() or {} for one in found if names is None or one.id in names}


def judged(name: str, fields: Fields, moments: Moments, *, now: datetime) -> list[str]:
    """Return what is wrong with a document, and where both sides read it differently by more than the rounding."""
    task = read(fields, moments).task
    ours, theirs = {task.status(now + by) for by in (-SECOND, 0 * SECOND, SECOND)}, golang.status(fields, now)
    return faults(fields, name) + ([] if theirs in ours else [f"we say {ours} and Go says {theirs}: {fields}"])


@dataclass
class Interleaving:
    """One run.

    Attributes:
        seed: What all choices follow from.
        ground: Where it takes place.
        project: The project of our stores.
        shared: Whether our side knows that it is not alone.
        wrong: What was wrong.
    """

    seed: int
    ground: Ground
    project: str = "model"
    shared: bool = True
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._steps, self._clock = self.ground.steps, self.ground.clock
        self.watch = Watch(self.ground.documents, self._clock)

    async def run(self) -> None:
        """Let both sides act, then work off what is left."""
        first = GoManager(self.ground.plain(), self._clock)
        for task_id, key in TASKS_AND_KEYS.items():
            await first.create(task_id, KIND, {"n": 1}, key=key)
        await first.create("generator", KIND, {"n": 1}, key="k2", rule=RULE)
        ours, admin = [self._worker(name) for name in ("we 1", "we 2")], self._worker("we")
        theirs = [self._go_worker(by_key=self.seed % 3 == number) for number in range(self.ground.go_workers)]
        actors = {f"we {number}": one.work() for number, one in enumerate(ours, start=1)}
        actors |= {f"go {number}": one.work() for number, one in enumerate(theirs, start=1)}
        actors["our admin"] = admin.administer(IDS)
        actors["go admin"] = ask(GoManager(self.ground.statements(), self._clock), self._steps, IDS)
        try:
            await self._steps.play(actors)
            await self._drain(ours, theirs)
        finally:
            for one in (*ours, admin):
                await one.close()
        self.wrong = [*self.watch.overlaps, *self.ground.wrong, *self.wrong]
        doubled = [(run, count) for one in ours for run, count in one.done.items() if count > 1]
        self.wrong += [f"{run} was completed {count} times" for run, count in doubled]

    def _worker(self, name: str) -> Ours:
        store = FirestoreStore(project=self.project, clock=self._clock, shared_with_go=self.shared)
        return Ours(name, store, steps=self._steps, watch=self.watch)

    def _go_worker(self, *, by_key: bool) -> Theirs:
        worker = GoWorker(self.ground.statements(), self._clock, sleep=lambda _: self._steps.stop("back off"))
        return Theirs(worker, self._steps, self.watch, by_key=by_key)

    async def _drain(self, ours: list[Ours], theirs: list[Theirs]) -> None:
        self._steps.play_out()
        for _ in range(DRAINED):
            self._clock.advance(31)
            for one in ours:
                await one.poll()
            for other in theirs:
                await other.poll()
            documents = await self.ground.documents()
            if all(fields["doneAt"] for fields in documents.values()):
                return
        self.wrong.append(f"not done: {await self.ground.documents()}")

    def __str__(self) -> str:
        told = "\n".join([*self._steps.trace, *self.wrong])
        return f"{told}\nONCETASK_RACE_SEED={self.seed} ONCETASK_INTERLEAVINGS=1"
