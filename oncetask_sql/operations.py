"""What a store says to its server: one kind of server, one module with these functions."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import ControlRecord, Found, Renewed
from oncetask_sql.renewals import Leases
from oncetask_sql.waves import Writes
from oncetask_sql.wording import Wording

S_contra = TypeVar("S_contra", contravariant=True)
P_contra = TypeVar("P_contra", contravariant=True)


class Operations(Protocol[S_contra, P_contra]):
    """Operations over a session; a module may have these. They promise what `TaskStore` does."""

    @property
    def Writer(self) -> Callable[[S_contra, Wording], Writes]:  # noqa: N802 - a class of a module
        """What writes over a session."""
        ...

    async def check(self, session: S_contra, location: P_contra, /) -> None:
        """Refuse a database that the store cannot work on."""
        ...

    async def migrate(self, session: S_contra, location: P_contra, /) -> None:
        """Bring the schema to this version."""
        ...

    async def now(self, session: S_contra, wording: Wording, /) -> int:
        """Return the store's time in microseconds."""
        ...

    async def get(self, session: S_contra, wording: Wording, ids: Collection[str], /) -> Found:
        """Return the tasks with these ids."""
        ...

    async def find(self, session: S_contra, wording: Wording, query: TaskQuery, /) -> Page:
        """Return one page of the tasks that match."""
        ...

    async def count(self, session: S_contra, wording: Wording, where: TaskFilter, /) -> int:
        """Return how many tasks match."""
        ...

    async def renew(self, session: S_contra, wording: Wording, leases: Leases, /) -> Renewed:
        """Extend what the leases hold, where a duration is given, and return all that they hold."""
        ...

    async def read_control(self, session: S_contra, wording: Wording, prefix: str, /) -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`, by name."""
        ...

    async def write_control(
        self, session: S_contra, wording: Wording, /, *, name: str, value: str | None, if_revision: int | None
    ) -> bool:
        """Write or remove a control record; return whether it was done."""
        ...
