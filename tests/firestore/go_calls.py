"""What programs with the Go library ask for: create, cancel, reset, delete; read first, then written blindly."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.api_core.exceptions import Aborted, AlreadyExists, NotFound

from oncetask_core.clock import Clock
from oncetask_firestore.messages import Query
from tests.firestore import go_rules, golang
from tests.firestore.go_statements import TASKS, Change, Statements
from tests.firestore.golang import Fields, text

TRIES = 10
"""How often the bulk writer tries."""


class GoManager:
    """The manager of a Go process.

    Args:
        statements: The database.
        clock: Its host's clock.
        env: Its environment.
    """

    def __init__(self, statements: Statements, clock: Clock, *, env: str = "DEFAULT") -> None:
        self._statements = statements
        self._clock = clock
        self._env = env

    async def create(
        self,
        task_id: str,
        kind: str,
        data: Fields | None = None,
        *,
        key: str = "",
        at: datetime | None = None,
        rule: Fields | None = None,
    ) -> bool:
        """Create a task unless the collection knows its id; return whether it did.

        Raises:
            Aborted: A transaction had locked the collection for too long.
        """
        wait_until = golang.NO_WAIT if at is None else text(at.astimezone(UTC))
        own: dict[str, Any] = {"type": kind, "env": self._env, "data": go_rules.as_json(data or {}), "resourceKey": key}
        own |= {"waitUntil": wait_until if rule is None else go_rules.first_slot(rule), "recurrence": rule}
        fields = golang.created(task_id, self._clock.now(), **own)
        try:
            await self._statements.write(Change(task_id, fields, is_new=True))
        except AlreadyExists:
            return False
        return True

    async def cancel(self, ids: Sequence[str]) -> int:
        """Cancel what is neither done nor cancelled; return how many."""
        return await self._update(ids, golang.cancel, lambda task: not task["doneAt"] and not task["isCancelled"])

    async def cancel_by_key(self, kind: str, key: str) -> int:
        """Cancel what is not done of a key."""
        of_kind = Query(TASKS).where(("env", "==", self._env), ("type", "==", kind))
        return await self.cancel(
            await self._statements.find(of_kind.where(("resourceKey", "==", key), ("doneAt", "==", "")))
        )

    async def reset(self, ids: Sequence[str]) -> int:
        """Let what is done run again; return how many."""
        return await self._update(ids, golang.reset, lambda task: bool(task["doneAt"]))

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete what is there; return how many."""
        return await self._update(ids, lambda _task, _now: None, lambda _: True)

    async def pending_count(self, kind: str) -> int:
        """Return how many tasks of a kind could be claimed, if their keys were free."""
        now = text(self._clock.now())
        live = Query(TASKS).where(("env", "==", self._env), ("type", "==", kind), ("doneAt", "==", ""))
        return len(await self._statements.find(live.where(("waitUntil", "<=", now), ("leasedUntil", "<=", now))))

    async def _update(
        self,
        ids: Sequence[str],
        deed: Callable[[Fields, datetime], Fields | None],
        is_meant: Callable[[Fields], bool],
    ) -> int:
        found, count = await self._statements.get(ids), 0
        for name, task in found.items():
            if task["env"] != self._env:
                raise ValueError(f"task {name} is in different environment")
            if is_meant(task):
                count += await self._written(Change(name, deed(task, self._clock.now())))
        return count

    async def _written(self, change: Change) -> bool:
        """Write by the bulk writer, which tries again where a transaction was in the way."""
        for _ in range(TRIES):
            try:
                await self._statements.write(change)
            except Aborted:
                continue
            except NotFound:
                return False
            return True
        return False
