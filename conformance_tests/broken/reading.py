"""Broken reading: records, listings, pages and counts that do not show what is there."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from broken.plain import PlainStore, Task
from oncetask_core.errors import StoreError
from oncetask_core.query import MAX_PAGE, Page, TaskFilter, TaskOrder, TaskQuery, cursor_after
from oncetask_core.store import Found
from oncetask_core.task import NewTask
from oncetask_core.transition import Guard, Inserted, Verdict


class ReadsPayloadsItsOwnWay(PlainStore):
    """Records come with a reader of the store's own."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        return Found(tasks={key: msgspec.structs.replace(task, reader=_Text()) for key, task in found.tasks.items()})


class _Text:
    def read_payload(self, text: str) -> object:
        """Return the text."""
        return text


class ReadsItsOwnCache(PlainStore):
    """A record that was read once is not read again."""

    async def get(self, ids: Collection[str]) -> Found:
        cache: dict[str, Task] = self.__dict__.setdefault("_cache", {})
        found = {**(await super().get(ids)).tasks, **{key: task for key, task in cache.items() if key in ids}}
        cache.update(found)
        return Found(tasks=found)


class ReadsWithoutHistory(PlainStore):
    """Records come back without their errors and settlements."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        return Found(tasks={key: _without_history(task) for key, task in found.tasks.items()})


class ListsWithoutHistory(PlainStore):
    """Listed records come back without their errors and settlements."""

    async def find(self, query: TaskQuery) -> Page:
        page = await super().find(query)
        return msgspec.structs.replace(page, tasks=[_without_history(task) for task in page.tasks])


def _without_history(task: Task) -> Task:
    return msgspec.structs.replace(task, errors=(), settled_by=())


class GetFindsEverything(PlainStore):
    """A lookup returns more than was asked for."""

    async def get(self, ids: Collection[str]) -> Found:
        return Found(tasks={task.id: task for task in self.all()})


class GetByPattern(PlainStore):
    """Ids are looked up without regard to case."""

    async def get(self, ids: Collection[str]) -> Found:
        lowered = {task_id.casefold() for task_id in ids}
        return Found(tasks={task.id: task for task in self.all() if task.id.casefold() in lowered})


class GetsAHundred(PlainStore):
    """A lookup returns a hundred tasks at most."""

    async def get(self, ids: Collection[str]) -> Found:
        return Found(tasks=dict(list((await super().get(ids)).tasks.items())[:100]))


class UnknownIdsFail(PlainStore):
    """A lookup fails when an id is not there."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        return Found(tasks={task_id: found.tasks[task_id] for task_id in ids})


class GetNeedsAList(PlainStore):
    """Ids are taken by their position."""

    async def get(self, ids: Collection[str]) -> Found:
        assert isinstance(ids, Sequence)
        assert len(set(ids)) == len(ids)
        return await super().get(ids)


class ReadingLeavesTraces(PlainStore):
    """Whoever reads a task counts a revision."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        for task in found.tasks.values():
            self.put(msgspec.structs.replace(task, revision=task.revision + 1))
        return found

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        self.put(msgspec.structs.replace(task, revision=task.revision + 1))
        return super().matches(where, task, now)


class UnreadableFailsTheLookup(PlainStore):
    """A record that cannot be read fails the lookup of its neighbours."""

    async def get(self, ids: Collection[str]) -> Found:
        found = await super().get(ids)
        if found.unreadable:
            raise StoreError("unreadable")
        return found


class UnreadableIsHidden(PlainStore):
    """A record that cannot be read is as if it were not there."""

    def unreadable(self) -> Mapping[str, str]:
        return {}


class UnreadableHoldsUpClaims(PlainStore):
    """A record that cannot be read fails every claim."""

    def met(self) -> Mapping[str, str]:
        if super().met():
            raise StoreError("unreadable")
        return {}


class UnreadableIsMetForEver(PlainStore):
    """A record that cannot be read is reported by every claim."""

    def met(self) -> Mapping[str, str]:
        return {**super().met(), **self.unreadable()}


class UnreadableKeepsItsSeat(PlainStore):
    """A record that cannot be read keeps its key from all others."""

    def met(self) -> Mapping[str, str]:
        met = super().met()
        self.touched.clear()
        return met


class FilterIgnoresStatuses(PlainStore):
    """Statuses are not filtered by."""

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        return super().matches(msgspec.structs.replace(where, statuses=None), task, now)


class FilterIgnoresTheClock(PlainStore):
    """What is due is found by the time at which the store was made."""

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        frozen: datetime = self.__dict__.setdefault("_made_at", now)
        return super().matches(where, task, frozen)


class RunOutIsDue(PlainStore):
    """Leases that ran out are found by being due and leased, and not by their end."""

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        if where.run_out is None:
            return super().matches(where, task, now)
        return (task.lease_uid is not None and task.wait_until <= now) is where.run_out


class GeneratorsAreNeverDue(PlainStore):
    """Generators are left out where something due is looked for."""

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        return super().matches(where, task, now) and not (where.due and task.is_generator)


class FilterByOneId(PlainStore):
    """A filter takes a few ids only."""

    def matches(self, where: TaskFilter, task: Task, now: datetime) -> bool:
        ids = None if where.ids is None else frozenset(sorted(where.ids, reverse=True)[:100])
        return super().matches(msgspec.structs.replace(where, ids=ids), task, now)


class UnstablePages(PlainStore):
    """A cursor says how many tasks to leave out, and not where to go on."""

    def after(self, query: TaskQuery, tasks: list[Task]) -> list[Task]:
        shown = super().after(query, sorted(self.all(), key=lambda task: task.sequence))
        if query.cursor is None or query.order is TaskOrder.NEWEST:
            return super().after(query, tasks)
        gone = self.storage.sequence - len(self.all())
        return tasks[len(self.all()) - len(shown) + gone :]


class PagesForgetThePlace(PlainStore):
    """Newest first, every page is the first."""

    def after(self, query: TaskQuery, tasks: list[Task]) -> list[Task]:
        return tasks if query.order is TaskOrder.NEWEST else super().after(query, tasks)


class PagesOverlap(PlainStore):
    """A page begins with the last task of the one before."""

    def after(self, query: TaskQuery, tasks: list[Task]) -> list[Task]:
        behind = super().after(query, tasks)
        return tasks[max(len(tasks) - len(behind) - 1, 0) :] if query.cursor else tasks


class CursorOfAnInstance(PlainStore):
    """A cursor is known to the instance that handed it out."""

    async def find(self, query: TaskQuery) -> Page:
        known: set[str | None] = self.__dict__.setdefault("_known", {None})
        if query.cursor not in known:
            return await super().find(msgspec.structs.replace(query, cursor=None))
        page = await super().find(query)
        known.add(page.cursor)
        return page


class FiltersAfterPaging(PlainStore):
    """A page is cut first and filtered afterwards."""

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        self._where = where
        return super().listed(TaskFilter(), order)

    async def find(self, query: TaskQuery) -> Page:
        page = await super().find(query)
        now = self.clock.now()
        return msgspec.structs.replace(
            page, tasks=[task for task in page.tasks if self.matches(self._where, task, now)]
        )


class LastPageHasACursor(PlainStore):
    """A listing never says that it is over."""

    async def find(self, query: TaskQuery) -> Page:
        page = await super().find(query)
        if not page.tasks:
            return page
        return msgspec.structs.replace(page, cursor=cursor_after(page.tasks[-1], query.order))


class EmptyListingFails(PlainStore):
    """Nothing to list is an error."""

    async def find(self, query: TaskQuery) -> Page:
        page = await super().find(query)
        cursor_after(page.tasks[-1], query.order)
        return page


class AnyCursorWillDo(PlainStore):
    """A cursor that nobody handed out begins anew."""

    async def find(self, query: TaskQuery) -> Page:
        try:
            return await super().find(query)
        except ValueError:
            return await super().find(msgspec.structs.replace(query, cursor=None, limit=min(query.limit, MAX_PAGE)))


class AnyPageSizeWillDo(PlainStore):
    """The size of a page is not checked."""

    async def find(self, query: TaskQuery) -> Page:
        return await super().find(msgspec.structs.replace(query, limit=min(max(query.limit, 1), MAX_PAGE)))


class SmallPages(PlainStore):
    """A page holds a hundred tasks, whatever was asked for."""

    async def find(self, query: TaskQuery) -> Page:
        return await super().find(msgspec.structs.replace(query, limit=min(query.limit, 100)))


class OldestOnly(PlainStore):
    """The order of a listing cannot be chosen."""

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        return super().listed(where, TaskOrder.OLDEST)


class ListsByTime(PlainStore):
    """Listings are in the order of due times."""

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        return sorted(super().listed(where, order), key=lambda task: task.order_at)


class ListsTwice(PlainStore):
    """A task that was claimed before is listed once for each claim."""

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        return [task for task in super().listed(where, order) for _ in range(max(task.claims, 1))]


class DeletedStaysListed(PlainStore):
    """A deleted task is still listed and counted."""

    def delete_one(self, guard: Guard, now: datetime) -> Verdict:
        task = self.one(guard.id)
        verdict = super().delete_one(guard, now)
        if task is not None and verdict is Verdict.APPLIED:
            self.storage.ghosts.append(task)
        return verdict

    def listed(self, where: TaskFilter, order: TaskOrder) -> list[Task]:
        return [*super().listed(where, order), *self.storage.ghosts]


class DeletedStaysReadable(DeletedStaysListed):
    """A deleted task can still be read."""

    async def get(self, ids: Collection[str]) -> Found:
        ghosts: Mapping[str, Task] = {task.id: task for task in self.storage.ghosts if task.id in ids}
        return Found(tasks={**ghosts, **(await super().get(ids)).tasks})


class CountsAllEnvironments(PlainStore):
    """A count goes over the tasks of every environment."""

    async def count(self, where: TaskFilter) -> int:
        return sum(self.matches(where, task, self.clock.now()) for task in self.storage.tasks.values())


class CountsAPage(PlainStore):
    """A count ends with the first page."""

    async def count(self, where: TaskFilter) -> int:
        return min(await super().count(where), MAX_PAGE)


class CountsInserts(PlainStore):
    """A count is of how often something was inserted, where it has no filter."""

    def insert_one(self, new: NewTask, now: datetime) -> Inserted:
        self.storage.tokens["inserts", ""] = self.storage.tokens.get(("inserts", ""), 0) + 1
        return super().insert_one(new, now)

    async def count(self, where: TaskFilter) -> int:
        return self.storage.tokens.get(("inserts", ""), 0) if where == TaskFilter() else await super().count(where)


class CountsAtLeastOne(PlainStore):
    """An empty count is one."""

    async def count(self, where: TaskFilter) -> int:
        return max(await super().count(where), 1)


class CountsItsOwn(PlainStore):
    """An instance counts what it has written itself."""

    def put(self, task: Task) -> Task:
        self.__dict__.setdefault("_own", set()).add(task.id)
        return super().put(task)

    async def count(self, where: TaskFilter) -> int:
        own: set[str] = self.__dict__.setdefault("_own", set())
        return len([task for task in self.listed(where, TaskOrder.OLDEST) if task.id in own])


class ReadsAllEnvironments(PlainStore):
    """Every verb sees the tasks of every environment."""

    def all(self) -> list[Task]:
        return list(self.storage.tasks.values())


class LooseEnvironments(PlainStore):
    """Environments are compared without regard to case, form and final spaces."""

    def all(self) -> list[Task]:
        mine = self.env.strip().casefold()
        return [task for (env, _), task in self.storage.tasks.items() if env.strip().casefold() == mine]
