"""Tasks that are created and completed in transactions of the caller: the same on every server."""

import contextlib
from collections.abc import Sequence
from typing import Protocol

from oncetask_core.errors import LeaseLostError
from oncetask_core.store import Decide
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Inserted
from oncetask_sql import sessions
from oncetask_sql.sessions import Dialect, Flow
from oncetask_sql.wording import Wording


class Flows(Protocol):
    """What is said to one kind of server; a module may have these."""

    @property
    def DIALECT(self) -> Dialect:  # noqa: N802 - a constant of a module
        """How its sessions are told from others, and how they are talked to."""
        ...

    def insertion(self, wording: Wording, tasks: Sequence[NewTask], /) -> Flow[list[Inserted]]:
        """Add the tasks whose ids are unknown, unseated; return an answer for each, in order."""
        ...

    def settlement(self, wording: Wording, task: OnceTask[object], decide: Decide, /) -> Flow[bool]:
        """Write what is decided about the newest record of a task; return whether its lease still holds it."""
        ...

    def spoiling(self, text: str, /) -> Flow[None]:
        """Fail on purpose, so that the transaction can only be rolled back."""
        ...


class Callers:
    """Writes on sessions of the caller.

    Args:
        flows: What is said.
        wording: How statements are worded.
    """

    def __init__(self, flows: Flows, wording: Wording) -> None:
        self._flows = flows
        self._wording = wording
        self._dialect = flows.DIALECT

    def awaits(self, session: object) -> bool:
        """Return whether statements on a session are awaited.

        Raises:
            ConfigurationError: It is no session, not on such a database, or in no transaction.
        """
        sessions.check(session, self._dialect)
        return sessions.is_async(session)

    async def insert(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add tasks in a transaction of the caller."""
        return await sessions.run(session, self._flows.insertion(self._wording, tasks), self._dialect)

    def insert_now(self, session: object, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add tasks in a transaction of the caller, in the calling thread."""
        return sessions.run_now(session, self._flows.insertion(self._wording, tasks), self._dialect)

    async def settle(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Write a holder's decision in a transaction of the caller.

        Raises:
            LeaseLostError: The lease is no longer the task's; the transaction can only be rolled back.
        """
        if not await sessions.run(session, self._flows.settlement(self._wording, task, decide), self._dialect):
            lost = LeaseLostError(task.id)
            with contextlib.suppress(Exception):  # it is meant to fail: the transaction is of no use any more
                await sessions.run(session, self._flows.spoiling(str(lost)), self._dialect)
            raise lost

    def settle_now(self, session: object, task: OnceTask[object], decide: Decide) -> None:
        """Do the same in the calling thread.

        Raises:
            LeaseLostError: As for `settle`.
        """
        if not sessions.run_now(session, self._flows.settlement(self._wording, task, decide), self._dialect):
            lost = LeaseLostError(task.id)
            with contextlib.suppress(Exception):  # it is meant to fail: the transaction is of no use any more
                sessions.run_now(session, self._flows.spoiling(str(lost)), self._dialect)
            raise lost
