"""Stores that are told too little of what others write."""

import asyncio
from collections.abc import Sequence

from broken.plain import PlainStore
from oncetask_core.transition import Answer, Atom


class HearsNothing(PlainStore):
    """Whoever listens listens for ever."""

    async def changed(self) -> None:
        await asyncio.Event().wait()


class WaitsForTheFirstNews(PlainStore):
    """What was written before the first call is not looked for."""

    async def changed(self) -> None:
        self.noticed = self.heard() if self.noticed is None else self.noticed
        await super().changed()


class HearsOnce(PlainStore):
    """After the first call nothing is noticed any more."""

    def heard(self) -> int:
        return 0


class DeafBetweenCalls(PlainStore):
    """What is written while nobody waits is missed."""

    async def changed(self) -> None:
        self.noticed = self.heard() if self.noticed is not None else None
        await super().changed()


class HearsOfNewTasksAlone(PlainStore):
    """Changes of tasks that exist are not noticed."""

    def heard(self) -> int:
        return self.storage.sequence


class HearsNoFollowUps(PlainStore):
    """Nothing is told of an atom that changes one task and creates another."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        before = self.storage.changes
        answers = await super().apply(atoms)
        if any(atom.inserts for atom in atoms):
            self.storage.changes = before
        return answers
