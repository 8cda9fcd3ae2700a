"""The negative control: a claim that reads what is free, and then takes it without looking again."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from oncetask_core.claims import Claim
from oncetask_core.store import Claimed, TaskStore


class DeferredClaims:
    """Passes everything on to a store, except for claims, which are two transactions: a deferred read, a write."""

    def __init__(self, store: TaskStore, path: Path) -> None:
        self._store = store
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim without a guard, then read what was claimed."""
        await asyncio.to_thread(self._claim, claim)
        return await self._store.claim(claim)

    def _claim(self, claim: Claim) -> None:
        connection = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        connection.execute("BEGIN DEFERRED")
        free = connection.execute(
            "SELECT id FROM oncetask_task WHERE head_key IS NOT NULL AND lease_uid IS NULL LIMIT 1"
        ).fetchall()
        connection.execute("COMMIT")
        for (task_id,) in free:
            connection.execute(
                "UPDATE oncetask_task SET lease_uid = ?, leased_by = ?, revision = revision + 1, "
                "leased_until = wait_until + 60000000 WHERE id = ?",
                (claim.lease_uid, claim.leased_by, task_id),
            )
        connection.close()
