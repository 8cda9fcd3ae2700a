"""How MariaDB plans the store's statements over 200,000 rows, half of them history, and over none."""

import re
from collections.abc import Iterator

import pytest

from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_sql.mariadb.session import Statement
from tests.mariadb.explaining import explained, recorded, rows_read
from tests.mariadb.world import Databases, needs_server, opened, run
from tests.servers.operations import LISTINGS, OPERATIONS, Operation, claim, named
from tests.servers.planning import check_plans, sent_during, walking
from tests.servers.world import ServerStore
from tests.sql.world import KIND, a_claim

pytestmark = [needs_server, pytest.mark.timeout(300)]

ROWS = 100_000
"""How many tasks are pending, and how many have ended."""
CLAIMED = 100
"""How many tasks a claim takes."""

_FILL = """INSERT INTO oncetask_task (env, id, kind, payload, run_uid, created_by, created_at, wait_until, order_at,
    queue, priority, resource_key, head_key, lease_uid, leased_until, crashes, outcome, done_at)
    SELECT 'DEFAULT', CONCAT('{name} ', n), 'parcel', '{{}}', CONCAT('run ', n), 'creator', n, at,
        at - priority * 1000000, 'default', priority, name, CASE WHEN {live} AND n <= 15000 THEN name END,
        CASE WHEN {live} AND n % 500 = 4 AND name IS NULL THEN CONCAT('old ', n) END,
        CASE WHEN {live} AND n % 500 = 4 AND name IS NULL THEN at END,
        CASE WHEN {live} AND n % 1000 = 5 THEN 1 ELSE 0 END,
        CASE WHEN NOT {live} THEN 'completed' END, CASE WHEN NOT {live} THEN at END
    FROM (SELECT seq AS n, CASE WHEN seq % 7 = 0 THEN 4000000000000000 ELSE 1000000000 END + seq * 1000 AS at,
        CASE WHEN seq % 10 = 1 THEN -5 ELSE 0 END AS priority,
        CASE WHEN seq % 3 = 0 THEN CONCAT('key ', seq % 5000) END AS name FROM seq_1_to_{rows}) AS numbered"""
"""Tasks of which a third has one of 5,000 keys, a seventh is due in the far future, a tenth has a low priority, some
are suspects and some hold leases that have run out."""


def fill(url: str, name: str, *, live: bool) -> None:
    """Add rows around the store, a part at a time; the server is told nothing of it."""
    run(url, _FILL.format(name=name, live=str(live).upper(), rows=ROWS))


def filled() -> Iterator[str]:
    """Yield a database with 100,000 pending tasks and as many that have ended, of which there are no statistics."""
    made = Databases()
    url = made.new()
    run(url, "ALTER TABLE oncetask_task STATS_AUTO_RECALC = 0")
    fill(url, "task", live=True)
    fill(url, "done", live=False)
    yield url
    made.remove()


@pytest.fixture(scope="module")
def grown() -> Iterator[str]:
    """Return such a database: it was migrated a moment ago."""
    yield from filled()


@pytest.fixture(scope="module")
def known() -> Iterator[str]:
    """Return another one, which the server has looked at."""
    for url in filled():
        run(url, "ANALYZE TABLE oncetask_task")
        yield url


async def poll(store: ServerStore) -> None:
    """Find nothing, and then look whether that is still so."""
    for _ in range(2):
        await store.claim(a_claim(named("lease"), kinds=["none", "neither"]))
        await store.claim(a_claim(named("lease"), kinds=["none", "neither"], suspects=True))


OWN = {**OPERATIONS, "poll that finds nothing": poll}
INDEXES: dict[str, set[str]] = {
    "poll that finds nothing": {"leased", "ready", "low", "suspect", "live"},
    "claim": {"ready", "sequence"},
    "claim of low priorities": {"low", "live"},
    "claim of a suspect": {"suspect"},
    "claim of groups": {"ready", "wait", "sequence"},
    "repeated claim": {"leased"},
    "insert": {"head", "wait", "member"},
    "settle": {"PRIMARY", "head", "wait", "member"},
    "second settle": {"PRIMARY"},
    "settle of two tasks as one": {"PRIMARY", "head", "wait", "member"},
    "progress": {"PRIMARY"},
    "reschedule": {"PRIMARY", "head", "wait", "member"},
    "cancel and reset": {"PRIMARY", "head", "wait", "member"},
    "expire": {"PRIMARY", "leased"},
    "delete": {"PRIMARY", "head", "wait", "member"},
    "renew": {"leased", "sequence"},
    "count of what is due": {"live"},
    "write of a control record": {"PRIMARY"},
}
LOCKS = re.compile(r"^\s*(UPDATE|DELETE)|FOR UPDATE")
NEVER = {"key", "done"}
"""The indexes of listings that are asked for seldom."""


def sent_by(url: str, operation: Operation) -> list[Statement]:
    """Return what a store sends during an operation."""
    return sent_during(opened(url), recorded(), operation)


@pytest.mark.parametrize("place", ["grown", "known"])
@pytest.mark.parametrize("what", OWN)
def test_no_operation_reads_every_task(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """The hot paths search the indexes that were made for them, with statistics and without."""
    url: str = request.getfixturevalue(place)

    check_plans(explained(url, sent_by(url, OWN[what])), INDEXES[what], never=NEVER)


@pytest.mark.parametrize("place", ["grown", "known"])
@pytest.mark.parametrize("what", LISTINGS)
def test_a_narrow_listing_searches_its_index(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """What workers list at every poll is found without walking through the history."""
    where, index = LISTINGS[what]
    url: str = request.getfixturevalue(place)
    plans = explained(url, sent_by(url, lambda store: store.find(TaskQuery(where=where, limit=500))))

    check_plans(plans, {"PRIMARY" if index == "id" else index}, never=NEVER)


def test_a_walk_through_everything_would_be_seen(known: str) -> None:
    """Counting by a field without an index is one, and these tests notice it."""
    plans = explained(known, sent_by(known, lambda store: store.count(TaskFilter(queue="default"))))

    assert [plan.walks for plan in plans if plan.walks] == [{"oncetask_task"}]


@pytest.mark.parametrize("what", OWN)
def test_no_operation_locks_every_task_of_tables_that_are_new(what: str, grown: str, databases: Databases) -> None:
    """Where there is next to nothing the server likes to read all of it: statements that lock do not let it."""
    sent = [statement for statement in sent_by(grown, OWN[what]) if LOCKS.search(statement)]
    plans = explained(databases.new(), sent)

    assert walking(plans) == []


def test_history_costs_a_claim_nothing(databases: Databases) -> None:
    """A claim of 100 tasks looks at as many rows beside 100,000 finished tasks as beside none."""
    url = databases.new()
    fill(url, "task", live=True)
    sent = [statement.replace("lease ", "another lease ") for statement in sent_by(url, claim)]
    young = rows_read(url, sent)
    fill(url, "done", live=False)
    old = rows_read(url, sent)

    assert CLAIMED < young < 10 * CLAIMED
    assert old == young


def test_history_costs_a_count_of_what_is_due_nothing(grown: str) -> None:
    """It is what a scaling rule asks for again and again."""
    due = TaskFilter(kinds=frozenset({KIND}), due=True)
    read = rows_read(grown, sent_by(grown, lambda store: store.count(due)))

    assert ROWS / 2 < read < ROWS * 1.1
