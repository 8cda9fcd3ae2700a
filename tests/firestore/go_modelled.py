"""The model of Firestore as a Go worker of the tests calls it."""

from collections.abc import Mapping, Sequence

from oncetask_firestore.messages import Query
from tests.firestore.go_statements import TASKS, Change, Transaction
from tests.firestore.golang import Fields
from tests.firestore.modelled import Model, Put, Reads


class ModelStatements:
    """Statements to the model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def begin(self) -> Transaction:
        reads = Reads()
        self._model.open.append(reads)
        return ModelTransaction(self._model, reads)

    async def find(self, query: Query) -> list[str]:
        return [name for name, _ in self._model.find(query)]

    async def get(self, names: Sequence[str]) -> Mapping[str, Fields]:
        found = self._model.get([(TASKS, name) for name in names])
        return {name: dict(kept.fields) for (_, name), kept in found.items()}

    async def write(self, change: Change) -> None:
        self._model.commit([put_of(change)])


class ModelTransaction:
    """A transaction of the model."""

    def __init__(self, model: Model, reads: Reads) -> None:
        self._model = model
        self.reads = reads

    async def find(self, query: Query) -> list[str]:
        return [name for name, _ in self._model.find(query, self.reads)]

    async def get(self, names: Sequence[str]) -> list[Fields]:
        at = [(TASKS, name) for name in names]
        found = self._model.get(at, self.reads)
        return [dict(found[name].fields) for name in at if name in found]

    async def commit(self, changes: Sequence[Change]) -> None:
        self._model.commit([put_of(change) for change in changes], self.reads)

    async def rollback(self) -> None:
        if self.reads in self._model.open:
            self._model.open.remove(self.reads)


def put_of(change: Change) -> Put:
    """Return a change of Go as the model writes it."""
    exists = not change.is_new if change.fields is not None else None
    return Put((TASKS, change.name), change.fields, exists=exists, claims=change.claims)
