"""What an instance has asked of Firestore, in the units of its bill."""

from collections.abc import Sized
from dataclasses import dataclass

ENTRIES_PER_READ = 1000
"""How many entries of an index a count takes for one read."""


@dataclass(slots=True)
class Usage:
    """Counts since the instance was made, repeated calls included.

    Attributes:
        calls: Requests that were answered or refused.
        reads: Documents read; a query or count that finds nothing counts as one.
        writes: Documents written.
        deletes: Documents deleted.
        refused: Writes and deletes of commits that failed, mostly because somebody else was faster.
        pushed: Of the reads, documents that a listener was sent.
    """

    calls: int = 0
    reads: int = 0
    writes: int = 0
    deletes: int = 0
    refused: int = 0
    pushed: int = 0

    def found(self, documents: Sized) -> None:
        """Count a query."""
        self.calls += 1
        self.reads += max(len(documents), 1)

    def got(self, names: Sized) -> None:
        """Count documents that were asked for by name, whether they are there or not."""
        self.calls += 1
        self.reads += len(names)

    def counted(self, number: int) -> None:
        """Count a count."""
        self.calls += 1
        self.reads += max(-(-number // ENTRIES_PER_READ), 1)

    def committed(self, *, writes: int, deletes: int) -> None:
        """Count a commit that was written."""
        self.calls += 1
        self.writes += writes
        self.deletes += deletes

    def was_refused(self, writes: Sized) -> None:
        """Count a commit of which nothing was written."""
        self.calls += 1
        self.refused += len(writes)

    def heard(self, documents: int) -> None:
        """Count what a listener was sent."""
        self.reads += documents
        self.pushed += documents
