"""Numbered changes of the schema, as plain SQL: one folder per dialect, one file per number.

A migration that was released is never edited; the next number changes what it made.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final, NamedTuple

NAMES: Final = ("tables",)
"""The migrations in order; the first has the number 1."""
LATEST: Final = len(NAMES)
"""The schema version of this library."""

RECORD_TABLE: Final = """CREATE TABLE IF NOT EXISTS oncetask_migration (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT DEFAULT CURRENT_TIMESTAMP NOT NULL
)"""


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    statements: Sequence[str]
    """SQL without closing semicolons."""

    @property
    def record(self) -> str:
        """The statement that notes that the step was taken."""
        return f"INSERT INTO oncetask_migration (version, name) VALUES ({self.version}, '{self.name}')"


def steps(dialect: str, *, after: int = 0) -> Iterator[Migration]:
    """Return the migrations above a version, in order.

    Args:
        dialect: The folder: `sqlite`.
        after: The version that a schema has; 0 for none.
    """
    for version, name in enumerate(NAMES, start=1):
        if version > after:
            text = (files(__package__) / dialect / f"{version:04}_{name}.sql").read_text("utf-8")
            yield Migration(version, name, tuple(_statements(text)))


def script(dialect: str, *, after: int = 0) -> str:
    """Return the migrations above a version as one SQL script, to be read or to be run by hand."""
    blocks = [
        "\n\n".join(f"{statement};" for statement in (RECORD_TABLE, *step.statements, step.record))
        for step in steps(dialect, after=after)
    ]
    return "".join(f"BEGIN;\n\n{block}\n\nCOMMIT;\n" for block in blocks)


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip().removesuffix(";")
            statement = ""
