"""Firestore within this process: documents, preconditions, queries and the locks of transactions, and nothing else.

Two ways to isolate transactions, as databases are configured: locks on what was read, for which writers wait; or none,
and a commit that is refused when something that was read has changed. Both hold for queries as well, unless told
otherwise: what would now match a query counts as read by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound

from oncetask_core.clock import Clock
from oncetask_firestore import messages
from oncetask_firestore.messages import Query
from oncetask_firestore.texts import to_micros
from tests.firestore.golang import Fields

Name = tuple[str, str]
"""A collection, and a document's name in it."""


class Kept(NamedTuple):
    """A document."""

    fields: Fields
    created: int
    updated: int


class Put(NamedTuple):
    """One write of a commit."""

    at: Name
    fields: Fields | None
    """What is set; None deletes."""
    exists: bool | None = None
    """Whether the document has to exist, or must not; None does not ask."""
    updated: int | None = None
    """When it has to have been written last; None does not ask."""
    claims: int = 0
    """How much is added to `attempts`."""


class Reads:
    """What a transaction has read."""

    def __init__(self) -> None:
        self.documents: dict[Name, int | None] = {}
        self.queries: list[tuple[Query, list[tuple[str, int]]]] = []

    def read(self, documents: Mapping[Name, int | None]) -> None:
        """Note documents, by when they were written; the first time counts."""
        self.documents = {**documents, **self.documents}


class Model:
    """A database.

    Args:
        clock: Its time; the times of its commits rise beyond that.
        locks: Whether transactions lock what they read, instead of looking at their commit whether it has changed.
        phantoms: Whether what comes to match a query of a transaction later is let pass, which Firestore does not.
    """

    def __init__(self, clock: Clock, *, locks: bool = True, phantoms: bool = False) -> None:
        self._clock = clock
        self._locks = locks
        self._phantoms = phantoms
        self._latest = 0
        self.documents: dict[Name, Kept] = {}
        self.open: list[Reads] = []

    def get(self, names: Iterable[Name], reads: Reads | None = None) -> dict[Name, Kept]:
        """Return the documents that exist."""
        found = {name: self.documents[name] for name in names if name in self.documents}
        if reads is not None:
            reads.read({name: found[name].updated if name in found else None for name in names})
        return found

    def find(self, query: Query, reads: Reads | None = None) -> list[tuple[str, Kept]]:
        """Return what a query finds, in its order."""
        found = [
            (name, kept)
            for (collection, name), kept in self.documents.items()
            if collection == query.collection and _matches(query, kept.fields)
        ]
        order = query.order or tuple({field for field, how, _ in query.conditions if how not in ("==", "in")})
        found.sort(key=lambda one: one[0], reverse=any(field.startswith("-") for field in order))
        for field in reversed(order):
            plain = field.removeprefix("-")
            found.sort(key=lambda one: _value(one[1].fields, plain), reverse=field.startswith("-"))
        found = found[: query.most] if query.most else found
        if reads is not None:
            reads.queries.append((query, _shown(found)))
            reads.read({(query.collection, name): kept.updated for name, kept in found})
        return found

    def is_blocked(self, puts: Sequence[Put], reads: Reads | None = None) -> bool:
        """Return whether a commit has to wait for the end of another transaction."""
        others = [one for one in self.open if one is not reads] if self._locks else []
        return any(put.at in one.documents or self._is_phantom(put, one) for put in puts for one in others)

    def _is_phantom(self, put: Put, reads: Reads) -> bool:
        if self._phantoms or put.fields is None:
            return False
        kept = self.documents.get(put.at)
        after = ({} if kept is None else kept.fields) | put.fields
        return any(query.collection == put.at[0] and _matches(query, after) for query, _ in reads.queries)

    def commit(self, puts: Sequence[Put], reads: Reads | None = None) -> int:
        """Write everything or nothing; return the time.

        Raises:
            Aborted: Something that the transaction read has changed, or is locked.
            AlreadyExists: A document exists.
            NotFound: One does not.
            FailedPrecondition: One was written since.
        """
        if reads is not None:
            self.open.remove(reads)
            if not self._locks and self._has_changed(reads):
                raise _refused(Aborted, "cross-transaction contention")
        if self.is_blocked(puts, reads):
            raise _refused(Aborted, "Transaction lock timeout.")
        for put in puts:
            self._check(put)
        self._latest = max(self._latest + 1, to_micros(self._clock.now()))
        for put in puts:
            self._put(put)
        return self._latest

    def _has_changed(self, reads: Reads) -> bool:
        now = {name: kept.updated for name, kept in self.documents.items()}
        if any(now.get(name) != updated for name, updated in reads.documents.items()):
            return True
        return not self._phantoms and any(_shown(self.find(query)) != shown for query, shown in reads.queries)

    def _check(self, put: Put) -> None:
        kept = self.documents.get(put.at)
        if put.exists is False and kept is not None:
            raise _refused(AlreadyExists, put.at)
        if (put.exists is True or put.updated is not None) and kept is None:
            raise _refused(NotFound, put.at)
        if put.updated is not None and kept is not None and kept.updated != put.updated:
            raise _refused(FailedPrecondition, put.at)

    def _put(self, put: Put) -> None:
        kept = self.documents.get(put.at)
        if put.fields is None:
            self.documents.pop(put.at, None)
            return
        before = Kept({}, self._latest, 0) if kept is None else kept
        fields = before.fields | deepcopy(put.fields)
        if put.claims:
            fields["attempts"] += put.claims
        self.documents[put.at] = Kept(fields, before.created, self._latest)


def _refused(error: Any, text: object) -> Exception:
    refusal: Exception = error(str(text))
    return refusal


def _shown(found: Iterable[tuple[str, Kept]]) -> list[tuple[str, int]]:
    return [(name, kept.updated) for name, kept in found]


def _value(fields: Mapping[str, Any], path: str) -> Any:
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _matches(query: Query, fields: Fields) -> bool:
    ordered = (_value(fields, field.removeprefix("-")) is not None for field in query.order)
    return all(_holds(_value(fields, field), how, value) for field, how, value in query.conditions) and all(ordered)


def _holds(found: Any, how: str, value: Any) -> bool:
    if how == "in":
        return found in value
    if type(found) is not type(value):
        return False
    match how:
        case "==":
            return bool(found == value)
        case "<":
            return bool(found < value)
        case "<=":
            return bool(found <= value)
        case ">":
            return bool(found > value)
        case ">=":
            return bool(found >= value)
    raise ValueError(how)


class ModelChannel:
    """The model as our store calls it, in Firestore's messages."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def close(self) -> None: ...

    @staticmethod
    def path(collection: str, name: str) -> str:
        return f"{collection}/{name}"

    async def commit(self, writes: Iterable[Any]) -> list[Any]:
        puts = puts_of(writes)
        written = messages.Document()
        written.update_time.FromMicroseconds(self._model.commit(puts))
        return [written.update_time for _ in puts]

    async def get(self, collection: str, names: Iterable[str]) -> list[Any]:
        found = self._model.get([(collection, name) for name in names])
        return [_message(collection, name, kept) for (_, name), kept in found.items()]

    async def find(self, query: Query) -> list[Any]:
        return [_message(query.collection, name, kept) for name, kept in self._model.find(query)]

    async def count(self, query: Query) -> int:
        return len(self._model.find(query))


def puts_of(writes: Iterable[Any]) -> list[Put]:
    """Return the writes of a commit of ours."""
    return [_put_of(write) for write in writes]


def _put_of(write: Any) -> Put:
    deleted, condition = bool(write.delete), write.current_document
    collection, _, name = (write.delete if deleted else write.update.name).partition("/")
    fields = None if deleted else messages.fields_of(write.update)
    assert fields is None or not write.update_mask.field_paths or set(write.update_mask.field_paths) == set(fields)
    if condition.HasField("exists"):
        return Put((collection, name), fields, exists=condition.exists)
    known = condition.update_time.ToMicroseconds() if condition.HasField("update_time") else None
    return Put((collection, name), fields, updated=known)


def _message(collection: str, name: str, kept: Kept) -> Any:
    message = messages.Document(name=ModelChannel.path(collection, name))
    messages.set_fields(message, kept.fields)
    message.create_time.FromMicroseconds(kept.created)
    message.update_time.FromMicroseconds(kept.updated)
    return message
