"""The documents of one environment: their names, and what they say or why they cannot be read."""

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from oncetask_core.task import OnceTask
from oncetask_firestore.database import TASKS, Database, Raw, Write
from oncetask_firestore.names import Ids, document_name
from oncetask_firestore.reading import Document, Moments, read
from oncetask_firestore.store_time import StoreTime
from oncetask_firestore.texts import rounded_down
from oncetask_firestore.wire import MalformedError
from oncetask_firestore.writing import changed_fields

Task = OnceTask[object]

MARK_BYTES: Final = 9


class Stored(msgspec.Struct, frozen=True):
    """A document as it was read, and what it says."""

    raw: Raw
    document: Document

    @property
    def task(self) -> Task:
        """The record."""
        return self.document.task

    def changed(self, after: Task, *, mark: str, expired: bool = False, place: int | None = None) -> Write:
        """Return the write of another record over this one."""
        fields = changed_fields(self.document, after, write=mark, expired=expired, place=place)
        return Write(TASKS, self.raw.name, fields, self.raw.updated)

    def written(self, fields: Mapping[str, Any], updated: Any) -> "Stored":
        """Return the document after a write of ours, as it would be read."""
        raw = Raw(self.raw.name, {**self.raw.fields, **fields}, self.raw.created, updated)
        return Stored(raw, read(raw.fields, Moments(raw.created, raw.updated_micros)))


class Fault(msgspec.Struct, frozen=True):
    """A document that cannot be read."""

    raw: Raw
    task_id: str
    reason: str


class Place(msgspec.Struct, frozen=True):
    """One environment in a database."""

    env: str
    ids: Ids
    time: StoreTime
    shared_with_go: bool = False
    """Whether workers of the Go library claim keys of the same kinds."""

    def name(self, task_id: str) -> str:
        """Return the name of a task's document."""
        return document_name(task_id, env=self.env, ids=self.ids)

    def is_over(self, task: Task) -> bool:
        """Return whether a holder has to stop because Go's workers may take its key: its end as text has passed."""
        keyed = self.shared_with_go and task.resource_key is not None and task.leased_until is not None
        return keyed and rounded_down(task.leased_until or self.time.now()) <= rounded_down(self.time.now())

    def read(self, raw: Raw) -> Stored | Fault | None:
        """Return what a document says; None for one of another environment."""
        if raw.fields.get("env") != self.env:
            return None
        raw = raw._replace(fields=dict(raw.fields))
        try:
            return Stored(raw, read(raw.fields, Moments(raw.created, raw.updated_micros)))
        except MalformedError as error:
            task_id = raw.fields.get("id")
            return Fault(raw, task_id if isinstance(task_id, str) else raw.name, str(error))

    def read_all(self, raws: Iterable[Raw]) -> tuple[list[Stored], list[Fault]]:
        """Return what documents say, in order, and those that cannot be read."""
        read = [self.read(raw) for raw in raws]
        return [one for one in read if isinstance(one, Stored)], [one for one in read if isinstance(one, Fault)]

    async def load(self, database: Database, ids: Collection[str]) -> Mapping[str, Stored | Fault | Raw]:
        """Return the documents of tasks by id; a document of another environment as it is."""
        names = {self.name(task_id): task_id for task_id in ids}
        found = await database.get(names)
        return {names[raw.name]: self.read(raw) or raw for raw in found.values()}


def new_mark() -> str:
    """Return a random name for the writes of one commit."""
    return secrets.token_urlsafe(MARK_BYTES)
