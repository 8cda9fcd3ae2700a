"""Listings on SQLite against the executable specification of filters."""

import contextlib
import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import timedelta, timezone
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncetask_core.errors import ConfigurationError, StoreError
from oncetask_core.query import TaskFilter, TaskOrder, TaskQuery, matches
from oncetask_core.status import TaskStatus
from oncetask_core.task import OnceTask
from oncetask_memory import MemoryStore
from oncetask_sql.codec import COLUMNS, encode
from oncetask_sql.filters import MOST_VALUES, condition
from oncetask_sql.sqlite import listing
from oncetask_sql.times import to_micros
from tests.asynchronous import asynchronous
from tests.sql.records import NEAR, NOW, filtered_tasks
from tests.sql.world import KIND, Space, new_task

MAYBE = st.none() | st.booleans()
FILTERS = st.builds(
    TaskFilter,
    ids=st.none() | st.frozensets(st.sampled_from(["task 0", "task 1", "task 2", "TASK 0"])),
    kinds=st.none() | st.frozensets(st.sampled_from(["a", "b", "B"])),
    statuses=st.none() | st.frozensets(st.sampled_from(TaskStatus)),
    resource_key=st.none() | st.sampled_from(["x", "X"]),
    queue=st.none() | st.just("slow"),
    parent_recurrence_id=st.none() | st.just("g"),
    created_from=st.none() | NEAR,
    created_before=st.none() | NEAR,
    done_before=st.none() | NEAR,
    live=MAYBE,
    due=MAYBE,
    run_out=MAYBE,
    generators=MAYBE,
    suspects=MAYBE,
)
SINGLE_FILTERS = [
    *(TaskFilter(statuses=frozenset({status})) for status in TaskStatus),
    *(TaskFilter(live=flag) for flag in (True, False)),
    *(TaskFilter(due=flag) for flag in (True, False)),
    *(TaskFilter(run_out=flag) for flag in (True, False)),
    *(TaskFilter(generators=flag) for flag in (True, False)),
    *(TaskFilter(suspects=flag) for flag in (True, False)),
]


def write(connection: sqlite3.Connection, tasks: list[OnceTask[object]]) -> None:
    """Replace all rows by these records."""
    connection.execute("DELETE FROM oncetask_task")
    places = ", ".join("?" * len(COLUMNS))
    rows = [[encode(name, getattr(task, name), NOW) for name in COLUMNS] for task in tasks]
    connection.executemany(f"INSERT INTO oncetask_task ({', '.join(COLUMNS)}) VALUES ({places})", rows)


def found(connection: sqlite3.Connection, query: TaskQuery) -> list[str]:
    """Return the ids that the statement for a page finds."""
    sql, parameters = listing.page_statement(query, env="DEFAULT", now=to_micros(NOW), position=None)
    return [row[0] for row in connection.execute(sql, parameters)]


def counted(connection: sqlite3.Connection, where: TaskFilter) -> int:
    """Return what the statement for a count counts."""
    sql, parameters = listing.count_statement(where, env="DEFAULT", now=to_micros(NOW))
    number: int = connection.execute(sql, parameters).fetchone()[0]
    return number


UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The file is made once for all examples; how long they take says more about who else is at work."""


class TestFilters:
    """What a filter means in SQL."""

    @settings(max_examples=300, deadline=None, suppress_health_check=UNCHECKED)
    @given(tasks=filtered_tasks(), where=FILTERS, order=st.sampled_from(TaskOrder))
    def test_a_filter_finds_what_it_means(
        self, space: Space, *, tasks: list[OnceTask[object]], where: TaskFilter, order: TaskOrder
    ) -> None:
        """Pages and counts agree with the specification for any combination of fields."""
        self._agree(space, tasks, where=where, order=order)

    @settings(max_examples=25, deadline=None, suppress_health_check=UNCHECKED)
    @pytest.mark.parametrize("where", SINGLE_FILTERS)
    @given(tasks=filtered_tasks())
    def test_a_single_field_finds_what_it_means(
        self, space: Space, tasks: list[OnceTask[object]], where: TaskFilter
    ) -> None:
        """Each flag and status alone, which matches more often than a combination."""
        self._agree(space, tasks, where=where, order=TaskOrder.OLDEST)

    def _agree(self, space: Space, tasks: list[OnceTask[object]], *, where: TaskFilter, order: TaskOrder) -> None:
        if not space.path.exists():
            space.prepare()
        meant = [task.id for task in tasks if matches(where, task, NOW)]
        with contextlib.closing(sqlite3.connect(space.path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            write(connection, tasks)

            assert found(connection, TaskQuery(where=where, order=order)) == sorted(
                meant, reverse=order is TaskOrder.NEWEST
            )
            assert counted(connection, where) == len(meant)

    def test_too_many_values_are_refused(self) -> None:
        """A statement takes a bounded number of values."""
        with pytest.raises(ConfigurationError, match=str(MOST_VALUES)):
            condition(TaskFilter(ids=frozenset(map(str, range(MOST_VALUES + 1)))), env="E", now=0)


class Named(StrEnum):
    """Texts as an application may name them."""

    KIND = KIND
    KEY = "north"


UNUSUAL: list[tuple[Mapping[str, object], Sequence[str]]] = [
    ({"ids": {"b", "nobody"}}, ["b"]),
    ({"ids": {"c": 1, "a": 2}.keys()}, ["a", "c"]),
    ({"kinds": {Named.KIND}}, ["a", "b", "c"]),
    ({"resource_key": Named.KEY}, ["b"]),
    ({"statuses": {TaskStatus.PENDING}}, ["a", "b", "c"]),
    ({"created_before": NOW.astimezone(timezone(timedelta(hours=-14)))}, []),
    ({"created_from": NOW.astimezone(timezone(timedelta(hours=14)))}, ["a", "b", "c"]),
]


@pytest.mark.parametrize(("fields", "expected"), UNUSUAL)
@asynchronous
async def test_filters_of_another_form_find_the_same_as_in_memory(
    space: Space, fields: dict[str, object], expected: Sequence[str]
) -> None:
    """Sets of any class, subclasses of str and times of any zone mean what they say."""
    where = TaskFilter(**fields)  # type: ignore[arg-type]  # by name
    async with space.opened() as on_disk:
        for store in (on_disk, MemoryStore(clock=space.clock)):
            await store.insert([new_task("a"), new_task("b", key="north"), new_task("c", key="south")])

            assert [task.id for task in await store.find(TaskQuery(where=where))] == expected, store
            assert await store.count(where) == len(expected), store


class TestPages:
    """How pages follow each other."""

    @pytest.mark.parametrize("order", TaskOrder)
    @asynchronous
    async def test_damaged_rows_take_no_place_on_a_page(self, space: Space, order: TaskOrder) -> None:
        """Pages are full however many rows beside them cannot be read, and every such row is told once."""
        async with space.opened() as store:
            await store.insert([new_task(f"{number:02}") for number in range(20)])
            space.run("UPDATE oncetask_task SET headers = 'no json' WHERE id NOT IN ('03', '07', '12', '19')")
            pages = [await store.find(TaskQuery(limit=2, order=order))]
            while pages[-1].cursor is not None:
                pages.append(await store.find(TaskQuery(limit=2, order=order, cursor=pages[-1].cursor)))

        ids = [task.id for page in pages for task in page]
        assert sorted(ids, reverse=order is TaskOrder.NEWEST) == ids
        assert set(ids) == {"03", "07", "12", "19"}
        assert [len(page) for page in pages[:2]] == [2, 2]
        damaged = list(itertools.chain.from_iterable(page.unreadable for page in pages))
        assert (len(damaged), len(set(damaged))) == (16, 16)

    @asynchronous
    async def test_old_history_is_found_by_its_age(self, space: Space) -> None:
        """What ended before a time is listed; where nothing did, nothing is."""
        async with space.opened() as store:
            await store.insert([new_task("a"), new_task("b")])
            space.run("UPDATE oncetask_task SET outcome = 'failed', done_at = wait_until WHERE id = 'b'")
            now = await store.now()
            older = await store.find(TaskQuery(where=TaskFilter(done_before=now + timedelta(seconds=1))))
            none = await store.find(TaskQuery(where=TaskFilter(done_before=now)))

        assert ([task.id for task in older], list(none)) == (["b"], [])

    @asynchronous
    async def test_a_text_that_sqlite_cannot_look_for_is_refused(self, space: Space) -> None:
        """Half a surrogate pair is no UTF-8; the store goes on afterwards."""
        async with space.opened() as store:
            await store.insert([new_task("a")])
            with pytest.raises(StoreError, match="neither keep nor look for"):
                await store.get(["\ud800"])
            assert set((await store.get(["a"])).tasks) == {"a"}
