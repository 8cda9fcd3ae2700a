"""Plays every verb on a store and on the model, and compares all that comes back and all that is stored."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar, cast

from msgspec.structs import replace

from oncetask_conformance.deeds import Row
from oncetask_conformance.harness import RAW_FIELDS, SEATS, Harness, RawTask, Space
from oncetask_conformance.model import Model, Taken
from oncetask_conformance.moves import KINDS, Move, Seen
from oncetask_core.claims import Claim
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import deletion
from oncetask_core.query import TaskFilter, TaskOrder, TaskQuery
from oncetask_core.store import TaskStore
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Inserted, Verdict

T = TypeVar("T")
UNSEATED = frozenset({"head_key"})
"""What a reply in the midst of a batch may leave open: seats are right when the call is over."""


class Bench:
    """Stores of one binding, one after the other, driven from plain functions by one long-lived event loop.

    Args:
        harness: The binding; it has to take an injected clock.
        stores_per_space: After how many stores, each in an environment of its own, there is a new space.
    """

    def __init__(self, harness: Harness, *, stores_per_space: int) -> None:
        self.has_seats = SEATS in harness.capabilities
        self._harness = harness
        self._stores_per_space = stores_per_space
        self._runner = asyncio.Runner()
        self._spaces = AsyncExitStack()
        self._count = 0
        self.clock = VirtualClock()
        self.space: Space | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.ask(self._spaces.aclose())
        finally:
            self._runner.close()

    def ask(self, coroutine: Coroutine[object, object, T]) -> T:
        """Return what the coroutine returns."""
        return self._runner.get_loop().run_until_complete(coroutine)  # run() looks after signals, for as long as a step

    def open(self) -> tuple[Space, TaskStore]:
        """Return a space and an open store of an environment in which there is nothing yet."""
        return self.ask(self._open())

    async def _open(self) -> tuple[Space, TaskStore]:
        if self.space is None or self._count % self._stores_per_space == 0:
            await self._spaces.aclose()
            self.clock = VirtualClock()
            self.space = await self._spaces.enter_async_context(self._harness.space(self.clock))
        self._count += 1
        store = self.space.store(f"env {self._count}")
        await store.migrate()
        await store.open()
        return self.space, store


class Player:
    """One store and one model of the same tasks.

    Every method raises `AssertionError` where the two differ, and says in what. Where the store may answer in any
    order, the answer comes in the model's: how a script goes on must not depend on it.
    """

    def __init__(self, bench: Bench) -> None:
        self.space, self.store = bench.open()
        self.clock = bench.clock
        self.model = Model(self.store.env, KINDS)
        self._ask = bench.ask
        self._left_out = frozenset[str]() if bench.has_seats else UNSEATED
        self._epochs = {0: 0}
        self._granted: dict[str, list[str]] = {}
        """The store's fence number by the model's."""
        self._fences: dict[tuple[str, ...], int] = {}
        """The highest fence number of every key, or of every id without a key."""
        self._sequences: dict[int, int] = {}
        """The store's number of creation by the model's."""
        self.revisions: dict[str, list[int]] = {}
        """All revisions that a control record ever had, by name."""

    @property
    def now(self) -> datetime:
        """The time of both."""
        return self.clock.now()

    def close(self) -> None:
        """Close the store."""
        self._ask(self.store.close())

    def insert(self, news: Sequence[NewTask]) -> list[Inserted]:
        """Insert tasks."""
        answers = self.model.insert(news, self.now)
        _same("the answers of insert", list(self._ask(self.store.insert(news))), answers)
        return answers

    def claim(self, claim: Claim) -> tuple[list[Seen], bool]:
        """Claim; return what was taken, and whether the lease held it before."""
        taken = self.model.claim(claim, self.now)
        reply = self._ask(self.store.claim(claim))
        told = [task.id for task in reply.tasks]
        rows = self._as_promised(claim.lease_uid, taken, told)
        _same(f"what {claim} takes", told, [row["id"] for row in rows])
        _same("the time of a claim", reply.now, self.now)
        _same("unreadable records", dict(reply.unreadable), {})
        if not taken.repeated:
            self._check_next_due(reply.next_due, taken)
            self._learn_fences(reply.tasks, rows)
        seen = {task.id: self._both(task, row) for task, row in zip(reply.tasks, rows, strict=True)}
        return [seen[row["id"]] for row in taken.rows], taken.repeated

    def _as_promised(self, lease_uid: str, taken: Taken, told: Sequence[str]) -> Sequence[Row]:
        """Return the rows in the order in which they have to come: any, once some of a lease's tasks have ended."""
        ids = [row["id"] for row in taken.rows]
        if not taken.repeated:
            self._granted[lease_uid] = ids
        if ids == self._granted[lease_uid] or sorted(ids) != sorted(told):
            return taken.rows
        return sorted(taken.rows, key=lambda row: told.index(row["id"]))

    def _check_next_due(self, told: datetime | None, taken: Taken) -> None:
        """Compare what is due next; what is known of kinds without a free slot may be old, and may be left out."""
        latest = taken.next_due_of_idle
        is_early = told is not None and self.now < told and (latest is None or told < latest)
        if not taken.some_are_busy or not (told == latest or is_early):
            _same("what is due next", told, taken.next_due)

    def _learn_fences(self, tasks: Sequence[OnceTask[object]], rows: Sequence[Row]) -> None:
        before = dict(self._fences)
        for task, row in zip(tasks, rows, strict=True):
            key = row["resource_key"]
            scope = ("id", row["id"]) if key is None else ("key", row["kind"], key)
            if task.epoch <= before.get(scope, 0) or task.epoch < self._fences.get(scope, 0):
                raise AssertionError(f"the fence of {scope} goes from {self._fences[scope]} to {task.epoch}")
            self._fences[scope] = self._epochs[row["epoch"]] = task.epoch

    def apply(self, moves: Sequence[Move]) -> list[Verdict]:
        """Apply a batch."""
        replies = self.model.apply([move.act for move in moves], self.now)
        answers = self._ask(self.store.apply([move.atom for move in moves]))
        told = [(answer.verdict, list(answer.inserted), answer.error) for answer in answers]
        _same("the answers of apply", told, [(reply.verdict, list(reply.inserted), None) for reply in replies])
        for answer, reply in zip(answers, replies, strict=True):
            if (answer.task is None) != (reply.row is None):
                raise AssertionError(f"with {answer.verdict} comes {answer.task}, and should {reply.row}")
            if answer.task is not None and reply.row is not None:
                self._compare(answer.task, reply.row, UNSEATED)
        return [reply.verdict for reply in replies]

    def renew(self, leases: Mapping[str, timedelta | None]) -> int:
        """Renew leases; return how many tasks they hold."""
        rows = self.model.renew(leases, self.now)
        reply = self._ask(self.store.renew(leases))
        held = {(one.id, one.run_uid, one.lease_uid, one.cancel_requested) for one in reply.held}
        _same("what leases hold", held, {(r["id"], r["run_uid"], r["lease_uid"], r["is_cancelled"]) for r in rows})
        _same("the number of held tasks", len(reply.held), len(rows))
        _same("the time of a renewal", reply.now, self.now)
        return len(rows)

    def delete(self, seen: Sequence[Seen]) -> list[Verdict]:
        """Delete tasks as they were seen."""
        verdicts = self.model.delete([one.row for one in seen])
        told = self._ask(self.store.delete([deletion(one.record) for one in seen]))
        _same("the verdicts of delete", list(told), verdicts)
        return verdicts

    def get(self, ids: Collection[str]) -> dict[str, Seen]:
        """Return the tasks with these ids as they are now."""
        found = self._ask(self.store.get(ids))
        _same("unreadable records", dict(found.unreadable), {})
        _same("who is found", set(found.tasks), set(ids) & set(self.model.rows))
        return {task_id: self._both(found.tasks[task_id], self.model.rows[task_id]) for task_id in sorted(found.tasks)}

    def find(self, where: TaskFilter, order: TaskOrder = TaskOrder.OLDEST, *, limit: int = 100) -> list[Seen]:
        """Return all that matches, read page by page."""
        rows = self.model.find(where, self.now)
        if order is TaskOrder.NEWEST:
            rows.reverse()
        found = self._paged(TaskQuery(where=where, order=order, limit=limit), most=len(rows))
        _same(f"what {where} finds", [task.id for task in found], [row["id"] for row in rows])
        return [self._both(task, row) for task, row in zip(found, rows, strict=True)]

    def _paged(self, query: TaskQuery, *, most: int) -> list[OnceTask[object]]:
        """Return the tasks of all pages; listings that go on for ever are cut off when they have too many."""
        found: list[OnceTask[object]] = []
        while len(found) <= most:
            page = self._ask(self.store.find(query))
            found += page.tasks
            size = len(page.tasks)
            if size > query.limit or (page.cursor is not None and size < query.limit):
                raise AssertionError(f"a page of {query.limit} has {size} tasks and the cursor {page.cursor}")
            if page.cursor is None:
                break
            query = replace(query, cursor=page.cursor)
        return found

    def count(self, where: TaskFilter) -> int:
        """Return how many tasks match."""
        count = self._ask(self.store.count(where))
        _same(f"how many {where} counts", count, len(self.model.find(where, self.now)))
        return count

    def write_control(self, name: str, value: str | None, *, if_revision: int | None) -> bool:
        """Write or remove a control record."""
        done = self.model.write_control(name, if_revision)
        _same(f"a write of {name}", self._ask(self.store.write_control(name, value, if_revision=if_revision)), done)
        if done:
            self.model.control.pop(name, None)
        if done and value is not None:
            known = self.revisions.setdefault(name, [])
            record = self._ask(self.store.read_control(name))[name]
            if record.revision <= max(known, default=0):
                raise AssertionError(f"revision {record.revision} of {name} comes after {known}")
            known.append(record.revision)
            self.model.control[name] = (value, record.revision)
        self.read_control("")
        return done

    def read_control(self, prefix: str) -> int:
        """Read control records; return how many there are."""
        records = self._ask(self.store.read_control(prefix))
        told = {name: (record.name, record.value, record.revision) for name, record in records.items()}
        expected = {name: (name, *kept) for name, kept in self.model.control.items() if name.startswith(prefix)}
        _same(f"control records under {prefix!r}", told, expected)
        return len(told)

    def check(self) -> None:
        """Compare all that is stored, read around the store."""
        raw = {task.id: task for task in self._ask(_gathered(self.space, self.store.env))}
        _same("which tasks there are", set(raw), set(self.model.rows))
        self._learn_sequences(raw)
        for task_id, row in self.model.rows.items():
            self._compare(raw[task_id], row, self._left_out)

    def _learn_sequences(self, raw: Mapping[str, RawTask]) -> None:
        latest = None
        for row in sorted(self.model.rows.values(), key=lambda row: row["sequence"]):
            number = self._sequences.setdefault(row["sequence"], raw[row["id"]].sequence)
            if latest is not None and number <= latest:
                raise AssertionError(f"{row['id']} was created later, and has the number {number} after {latest}")
            latest = number

    def _both(self, task: OnceTask[object], row: Row) -> Seen:
        self._compare(task, row, self._left_out)
        return Seen(task, row.copy())

    def _compare(self, task: OnceTask[object] | RawTask, row: Row, left_out: Collection[str]) -> None:
        told = {name: getattr(task, name) for name in RAW_FIELDS}
        expected = cast(dict[str, object], row.copy())
        expected["epoch"] = self._epochs[row["epoch"]]
        expected["sequence"] = self._sequences.get(row["sequence"], told["sequence"])
        if told != expected:
            wrong = [name for name in RAW_FIELDS if told[name] != expected[name] and name not in left_out]
            lines = [f"{name} of {row['id']} is {told[name]!r}, not {expected[name]!r}" for name in wrong]
            if lines:
                raise AssertionError("\n".join(lines))


async def _gathered(space: Space, env: str) -> Sequence[RawTask]:
    return await space.read(env)


def _same(what: str, told: object, expected: object) -> None:
    if told != expected:
        raise AssertionError(f"{what}: {told}, not {expected}")
