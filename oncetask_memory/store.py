"""The memory store: the port, each call of it one step under the lock of its space."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.errors import ConfigurationError, StoreError
from oncetask_core.limits import check_env
from oncetask_core.query import Page, TaskFilter, TaskQuery
from oncetask_core.store import Claimed, ControlRecord, Found, HeldLease, Renewed
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Answer, Atom, Guard, Inserted, Verdict, judge
from oncetask_memory.claiming import take
from oncetask_memory.draft import Draft
from oncetask_memory.listing import count, page_of
from oncetask_memory.shelf import Shelf
from oncetask_memory.space import Snapshot, Space

Task = OnceTask[object]


class MemoryStore:
    """Keeps the tasks of one environment in this process; usable from any thread and event loop.

    Nothing is written to disk, and no other process sees it: for tests, and for work that may die with its process.

    Args:
        env: The environment.
        clock: What time is read from; None means the host's clock.
        space: Another store's `space`, to share its tasks; its clock comes with it.

    Raises:
        InvalidTaskError: `env` is a name that no store could keep.
        ConfigurationError: Both `clock` and `space` are given.
    """

    capabilities = frozenset({"injected_clock"})
    """What this store can do beyond the port."""

    def __init__(self, *, env: str = DEFAULT_ENV, clock: Clock | None = None, space: Space | None = None) -> None:
        if clock is not None and space is not None:
            raise ConfigurationError(
                value=clock,
                rule="the stores of a space share its clock",
                remedy="Leave out the clock, or pass it to the first store of the space.",
            )
        self._env = check_env(env)
        self._space = Space(clock) if space is None else space

    @property
    def env(self) -> str:
        """The environment whose tasks this instance reads and writes."""
        return self._env

    @property
    def space(self) -> Space:
        """What other stores may share: `MemoryStore(env="staging", space=store.space)`."""
        return self._space

    @contextmanager
    def _at_now(self) -> Iterator[tuple[Shelf, datetime]]:
        """Yield the shelf and the time of one call; whatever becomes of the call, its keys are seated."""
        with self._space.lock:
            shelf, now = self._space.shelves[self._env], self._space.now()
            try:
                yield shelf, now
            except OverflowError as error:
                raise StoreError(f"the call leads to a time out of range: {error}; nothing was written") from error
            finally:
                shelf.seat_touched(now)

    def _draft(self, shelf: Shelf, now: datetime) -> Draft:
        return Draft(shelf, env=self._env, now=now, sequences=self._space.sequences)

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Do nothing: the tasks are there as long as a store of the space is."""

    async def migrate(self) -> None:
        """Do nothing: there is no schema."""

    async def now(self) -> datetime:
        """Return the time of the space, which never runs backwards."""
        with self._space.lock:
            return self._space.now()

    async def insert(self, tasks: Sequence[NewTask]) -> Sequence[Inserted]:
        """Add the tasks whose ids are unknown.

        Raises:
            StoreError: One of the times is out of range; nothing was written.
        """
        with self._at_now() as (shelf, now):
            draft = self._draft(shelf, now)
            answers = [draft.insert(new) for new in tasks]
            draft.commit()
            return answers

    async def get(self, ids: Collection[str]) -> Found:
        """Return the tasks with these ids."""
        with self._at_now() as (shelf, _):
            return Found(tasks={task_id: shelf.tasks[task_id] for task_id in ids if task_id in shelf.tasks})

    async def find(self, query: TaskQuery) -> Page:
        """Return one page of the tasks that match.

        Raises:
            ConfigurationError: The page size or cursor is invalid.
        """
        with self._at_now() as (shelf, now):
            return page_of(query, shelf, now)

    async def count(self, where: TaskFilter) -> int:
        """Return how many tasks match."""
        with self._at_now() as (shelf, now):
            return count(where, shelf, now)

    async def claim(self, claim: Claim) -> Claimed:
        """Lease exactly what `claims.chosen` chooses.

        Raises:
            StoreError: The leases would end at a time out of range; nothing was leased.
        """
        with self._at_now() as (shelf, now):
            shelf.advance(claim.slots, now)
            tasks = sorted(shelf.held_by(claim.lease_uid), key=lambda task: task.epoch)
            if not tasks:
                tasks = take(claim, shelf, now=now, epochs=self._space.epochs)
            return Claimed(tasks=tasks, now=now, next_due=shelf.next_due(claim.slots))

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        """Write each atom whose guards hold; one that leads to a time out of range is broken."""
        with self._at_now() as (shelf, now):
            return [self._draft(shelf, now).submit(atom) for atom in atoms]

    async def renew(self, leases: Mapping[str, timedelta | None]) -> Renewed:
        """Extend what the named leases hold.

        Raises:
            StoreError: A lease would end at a time out of range; nothing was extended.
        """
        with self._at_now() as (shelf, now):
            ends = {uid: None if by is None else now + by for uid, by in leases.items()}
            held = [task for uid in ends for task in shelf.held_by(uid)]
            return Renewed(held=[_renewed(task, ends, shelf) for task in held], now=now)

    async def delete(self, guards: Sequence[Guard]) -> Sequence[Verdict]:
        """Remove each task whose guard holds."""
        with self._at_now() as (shelf, now):
            return [_deleted(guard, shelf, now) for guard in guards]

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with `prefix`."""
        with self._space.lock:
            records = self._space.records[self._env]
            return {name: record for name, record in records.items() if name.startswith(prefix)}

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        """Write or remove a control record; revisions are numbered space-wide, so none comes back."""
        with self._space.lock:
            records = self._space.records[self._env]
            revision = records[name].revision if name in records else 0
            if if_revision not in {None, revision}:
                return False
            if value is None:
                records.pop(name, None)
            else:
                records[name] = ControlRecord(name=name, value=value, revision=next(self._space.revisions))
            return True

    def snapshot(self) -> Snapshot:
        """Return everything that the environment holds now."""
        with self._space.lock:
            shelf, records = self._space.shelves[self._env], self._space.records[self._env]
            return Snapshot(env=self._env, tasks=tuple(shelf.tasks.values()), records=dict(records))

    def restore(self, snapshot: Snapshot) -> None:
        """Make the environment hold what it held at the snapshot.

        The time and the numbering go on: sequences, epochs and revisions of control records that were given since
        are not given again, so whoever claimed a task since holds nothing now.

        Raises:
            ConfigurationError: The snapshot is of another environment.
        """
        if snapshot.env != self._env:
            raise ConfigurationError(
                value=snapshot.env,
                rule=f"a snapshot is restored into its own environment, not into {self._env!r}",
                remedy="Restore it by a store of its environment.",
            )
        with self._space.lock:
            shelf = self._space.shelves[self._env] = Shelf()
            now = self._space.now()
            for task in snapshot.tasks:
                shelf.put(task, now)
            shelf.seat_touched(now)
            self._space.records[self._env] = dict(snapshot.records)


def _renewed(task: Task, ends: Mapping[str, datetime | None], shelf: Shelf) -> HeldLease:
    lease_uid, until = task.lease_uid or "", task.leased_until
    end = ends[lease_uid]
    if end is not None and (until is None or until < end):
        shelf.extend(task, end)
    return HeldLease(id=task.id, run_uid=task.run_uid, lease_uid=lease_uid, cancel_requested=task.is_cancelled)


def _deleted(guard: Guard, shelf: Shelf, now: datetime) -> Verdict:
    task = shelf.tasks.get(guard.id)
    verdict = judge(guard, task, now)
    if task is not None and verdict is Verdict.APPLIED:
        shelf.remove(task)
    return verdict
