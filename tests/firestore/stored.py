"""One document as Firestore keeps it, for tests of the codec without a server."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from google.cloud.firestore_v1 import types

from oncetask_core.task import OnceTask
from oncetask_firestore import messages
from oncetask_firestore.reading import Document, Moments, read
from oncetask_firestore.writing import changed_fields, new_fields

Task = OnceTask[object]
Fields = dict[str, Any]

GO_DOCUMENTS = Path(__file__).parent / "go_documents"
CREATED = 1_895_000_000_000_000


def go_document(name: str) -> Fields:
    """Return a document that the Go library wrote, as the client reads it."""
    stored = json.loads((GO_DOCUMENTS / f"{name}.json").read_text(encoding="utf-8"))
    return decoded(types.Document.pb(types.Document.from_json(json.dumps({"fields": stored["fields"]}))))


def message_of(fields: Fields) -> Any:
    """Return fields as Firestore values, with their types."""
    message = messages.Document()
    messages.set_fields(message, fields)
    return message


def decoded(message: Any) -> Fields:
    """Return Firestore values as plain ones."""
    return messages.fields_of(message)


class Stored:
    """A document; each write comes later than the one before."""

    def __init__(self, fields: Fields) -> None:
        self.fields = decoded(message_of(fields))
        self.updated = CREATED
        self.written: list[Fields] = []

    @classmethod
    def of(cls, task: Task) -> "Stored":
        """Return the document of a new task."""
        return cls(new_fields(task, write="w"))

    def write(self, fields: Fields) -> None:
        """Replace these fields."""
        self.written.append(fields)
        self.fields |= decoded(message_of(fields))
        self.updated += 1000

    def read(self) -> Document:
        """Return what the document says."""
        return read(self.fields, Moments(CREATED, self.updated))

    @property
    def task(self) -> Task:
        """The record."""
        return self.read().task

    def change(self, after: Task, **options: Any) -> None:
        """Write a change of ours."""
        self.write(changed_fields(self.read(), after, write="w", **options))

    def by_go(self, deed: Callable[..., Fields], now: datetime, *more: object) -> None:
        """Write what a Go worker writes."""
        self.write(deed(self.fields, now, *more))
