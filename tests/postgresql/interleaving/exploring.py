"""Going through every interleaving of the actors of a scene, and telling what was wrong with which."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oncetask_sql.postgresql.location import located
from oncetask_sql.postgresql.session import Session
from tests.postgresql.interleaving.stage import Hand, Stage
from tests.postgresql.interleaving.stepping import GLANCE, Actor, Observer, connection

Script = Callable[[Hand], Coroutine[Any, Any, None]]
Plant = Callable[[], AbstractContextManager[object]]
"""Plants a broken variant for the length of a block."""

MOST = 2000
"""Interleavings of one scene; more would be a mistake in the scene."""


async def nothing(_: Hand) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What some actors do at the same time.

    Attributes:
        prepare: What happens before.
        scripts: What each actor does, by name.
        coarse: Actors whose steps are whole transactions.
        impatient: Actors who wait for locks for a moment only.
        never_wait: Actors who must not have to wait for anybody.
        within: What holds for the store while the actors act, such as a statement that stops in its middle.
    """

    prepare: Script = nothing
    scripts: Mapping[str, Script]
    coarse: frozenset[str] = frozenset()
    impatient: frozenset[str] = frozenset()
    never_wait: frozenset[str] = frozenset()
    within: Plant = nullcontext


class _Choice(NamedTuple):
    taken: str
    possible: Sequence[str]


@dataclass
class Run:
    """One interleaving, and what was wrong with it."""

    faults: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    choices: list[_Choice] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*self.faults, "after:", *self.trace])

    def next_path(self) -> list[str] | None:
        """Return the beginning of the next interleaving in depth-first order; None after the last."""
        choices = list(self.choices)
        while choices and choices[-1].taken == choices[-1].possible[-1]:
            choices.pop()
        if not choices:
            return None
        *before, last = choices
        return [*(one.taken for one in before), last.possible[last.possible.index(last.taken) + 1]]


class _Play:
    """One run of a scene."""

    def __init__(self, scene: Scene, observer: Observer, actors: Sequence[Actor]) -> None:
        self._scene = scene
        self._observer = observer
        self._actors = actors
        self._stage = Stage(observer.location, observer.session)
        self._run = Run()

    async def play(self, path: Sequence[str], plant: Plant) -> Run:
        """Begin along a path and go on with whoever comes first by name."""
        stage = self._stage
        await self._scene.prepare(Hand(stage, self._observer.session))
        self._note(await stage.look())
        assert not self._run.faults, str(self._run)
        stage.start = stage.tasks
        with self._scene.within(), plant():
            await self._act(path)
        return self._run

    async def _act(self, path: Sequence[str]) -> None:
        stage = self._stage
        for actor in self._actors:
            actor.begin(self._scene.scripts[actor.name](Hand(stage, actor.session)))
            await self._follow_all()
        while not all(actor.is_over for actor in self._actors):
            await self._step(path)
        self._note(f"{actor.name} failed: {actor.failure!r}" for actor in self._actors if actor.failure is not None)
        self._note(stage.broken)
        self._note(await stage.come_to_rest())

    async def _step(self, path: Sequence[str]) -> None:
        possible = [actor.name for actor in self._actors if actor.can_step]
        if not possible:
            self._note(["everybody waits for somebody"])
            await self._rescue()
            return
        at = len(self._run.choices)
        taken = path[at] if at < len(path) else possible[0]
        assert taken in possible, f"{taken} cannot step although it could before:\n{self._run}"
        self._run.choices.append(_Choice(taken, possible))
        (actor,) = (actor for actor in self._actors if actor.name == taken)
        self._run.trace.append(f"{actor.name}: {actor.next}")
        others = [other for other in self._actors if other is not actor]
        for other in others:
            other.session.refusals = 0
        actor.step()
        await self._follow_all()
        self._note(await self._stage.look())

    async def _follow_all(self) -> None:
        """Wait until everybody has come to rest, or waits for a lock of somebody who has."""
        while True:
            before = [actor.is_at_rest for actor in self._actors]
            for actor in self._actors:
                await self._follow(actor)
            if [actor.is_at_rest for actor in self._actors] == before:
                return

    async def _follow(self, actor: Actor) -> None:
        """Wait until an actor has come to rest or waits for a lock."""
        if not await self._observer.has_stopped(actor, gives_up=actor.name in self._scene.impatient):
            return
        self._run.trace.append(f"{actor.name} waits")
        if actor.name in self._scene.never_wait:
            self._note([f"{actor.name} has to wait for somebody"])
        if await self._observer.waits_with_stripe(actor):
            self._note([f"{actor.name} waits for a row while it has the stripe of a key"])

    async def _rescue(self) -> None:
        """Let the server end the deadlock, or the refused go on."""
        for actor in self._actors:
            actor.session.refusals = 0
        waiting = [actor for actor in self._actors if not actor.is_over]
        while not any(actor.can_step or actor.is_over for actor in waiting):
            await waiting[0].rests(GLANCE)

    def _note(self, faults: Iterable[str]) -> None:
        self._run.faults += [fault for fault in faults if fault not in self._run.faults]


async def interleavings(scene: Scene, url: str, plant: Plant = nullcontext) -> AsyncGenerator[Run, None]:
    """Yield every interleaving of a scene, in an environment of its own each, with what is planted when it begins."""
    location = located(url)
    path: list[str] | None = []
    async with contextlib.AsyncExitStack() as stack:
        observer = Observer(
            location, Session(await stack.enter_async_context(await connection(location, is_patient=True)))
        )
        connections = {
            name: await stack.enter_async_context(await connection(location, is_patient=name not in scene.impatient))
            for name in sorted(scene.scripts)
        }
        for _ in range(MOST):
            if path is None:
                return
            actors = [
                Actor(name, connection, is_coarse=name in scene.coarse) for name, connection in connections.items()
            ]
            run = await _Play(scene, observer, actors).play(path, plant)
            yield run
            path = run.next_path()
    raise AssertionError(f"more than {MOST} interleavings")


async def explored(scene: Scene, url: str) -> int:
    """Return in how many ways a scene can go; fail where something is wrong with one."""
    count = 0
    async with contextlib.aclosing(interleavings(scene, url)) as runs:
        async for run in runs:
            assert not run.faults, str(run)
            count += 1
    return count


async def first_fault(scene: Scene, url: str, plant: Plant) -> str:
    """Return what is wrong with the first interleaving that has a fault; nothing if none has."""
    async with contextlib.aclosing(interleavings(scene, url, plant)) as runs:
        async for run in runs:
            if run.faults:
                return str(run)
    return ""
