"""How PostgreSQL plans the store's statements over 200,000 rows, half of them history, and over none."""

from collections.abc import Iterator

import pytest

from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_sql.postgresql import endpoint
from oncetask_sql.postgresql.session import Session
from tests.asynchronous import asynchronous
from tests.postgresql.explaining import Plan, Sent, explained, plan_of, recorded
from tests.postgresql.world import Schemas, connected, needs_server, opened, schema_of
from tests.servers.operations import LISTINGS, OPERATIONS, Operation, claim
from tests.servers.planning import check_plans, sent_during, walking

pytestmark = [needs_server, pytest.mark.timeout(300)]

ROWS = 100_000
"""How many tasks are pending, and how many have ended."""
CLAIM_PAGES = 4_000
"""How many pages a claim of 100 tasks looks at, at most: nearly all of them to enter the new rows into the indexes."""

_FILL = """INSERT INTO oncetask_task (env, id, kind, payload, run_uid, created_by, created_at, wait_until, order_at,
    queue, priority, resource_key, head_key, lease_uid, leased_until, crashes, outcome, done_at)
    SELECT 'DEFAULT', '{name} ' || n, 'parcel', '{{}}', 'run ' || n, 'creator', n, w.at, w.at - p.priority * 1000000,
        'default', p.priority, k.key, CASE WHEN {live} AND n <= 15000 THEN k.key END, l.lease,
        CASE WHEN l.lease IS NOT NULL THEN w.at END,
        CASE WHEN {live} AND n % 1000 = 5 THEN 1 ELSE 0 END,
        CASE WHEN {live} THEN NULL ELSE 'completed' END, CASE WHEN {live} THEN NULL ELSE w.at END
    FROM generate_series(1, {rows}) AS n,
        LATERAL (SELECT CASE WHEN n % 7 = 0 THEN 4000000000000000 ELSE 1000000000 END + n * 1000 AS at) AS w,
        LATERAL (SELECT CASE WHEN n % 10 = 1 THEN -5 ELSE 0 END AS priority) AS p,
        LATERAL (SELECT CASE WHEN n % 3 = 0 THEN 'key ' || n % 5000 END AS key) AS k,
        LATERAL (SELECT CASE WHEN {live} AND n % 500 = 4 AND k.key IS NULL THEN 'old ' || n END AS lease) AS l"""
"""Tasks of which a third has one of 5,000 keys, a seventh is due in the far future, a tenth has a low priority, some
are suspects and some hold leases that have run out."""


def fill(url: str, name: str, *, live: bool, rows: int = ROWS, looks: bool = True) -> None:
    """Add rows around the store; look at them as the server's own maintenance would, unless told otherwise."""
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute(_FILL.format(name=name, live=str(live).lower(), rows=rows).encode())
        if looks:
            connection.execute("VACUUM ANALYZE oncetask_task")


@pytest.fixture(scope="module")
def known() -> Iterator[str]:
    """Return a schema with 100,000 pending tasks and as many that have ended, of which the server has statistics."""
    made = Schemas()
    url = made.new()
    fill(url, "task", live=True)
    fill(url, "done", live=False)
    yield url
    made.remove()


@pytest.fixture(scope="module")
def grown() -> Iterator[str]:
    """Return the same without statistics: it was migrated a moment ago."""
    made = Schemas()
    url = made.new()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute("ALTER TABLE oncetask_task SET (autovacuum_enabled = off)")
    fill(url, "task", live=True, looks=False)
    fill(url, "done", live=False, looks=False)
    yield url
    made.remove()


INDEXES: dict[str, set[str]] = {
    "claim": {"id", "ready"},
    "claim of low priorities": {"low", "live"},
    "claim of a suspect": {"suspect"},
    "claim of groups": {"ready", "wait"},
    "repeated claim": {"leased"},
    "insert": {"head", "wait", "member"},
    "settle": {"id", "head", "wait", "member"},
    "second settle": {"id"},
    "settle of two tasks as one": {"id", "head", "wait", "member"},
    "progress": {"id"},
    "reschedule": {"id", "head", "wait", "member"},
    "cancel and reset": {"id", "head", "wait", "member"},
    "expire": {"id", "leased"},
    "delete": {"id", "head", "wait", "member"},
    "renew": {"id", "leased"},
    "count of what is due": {"live"},
    "write of a control record": set(),
}
NEVER = {"sequence", "key", "done"}
"""The indexes of listings that are asked for seldom, and of an order that nobody searches in."""
UNTIL_KNOWN = ("what is old enough to go",)
"""What only statistics tell."""


def sent_by(url: str, operation: Operation) -> list[Sent]:
    """Return what a store sends during an operation."""
    return sent_during(opened(url), recorded(), operation)


@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize("place", ["known", "grown"])
def test_no_operation_reads_every_task(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """The hot paths search the indexes that were made for them, with statistics and without."""
    url: str = request.getfixturevalue(place)

    check_plans(explained(sent_by(url, OPERATIONS[what])), INDEXES[what], never=NEVER)


@pytest.mark.parametrize("what", LISTINGS)
@pytest.mark.parametrize("place", ["known", "grown"])
def test_a_narrow_listing_searches_its_index(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """What workers list at every poll is found without walking through the history."""
    where, index = LISTINGS[what]
    url: str = request.getfixturevalue(place)
    plans = explained(sent_by(url, lambda store: store.find(TaskQuery(where=where, limit=500))))

    if place == "known" or what not in UNTIL_KNOWN:
        check_plans(plans, {index}, never=NEVER)


def test_a_walk_through_everything_would_be_seen(known: str) -> None:
    """Counting by a field without an index is one, and these tests notice it."""
    plans = explained(sent_by(known, lambda store: store.count(TaskFilter(queue="default"))))

    assert [plan.walks for plan in plans if plan.walks] == [{"oncetask_task"}]


@pytest.mark.parametrize("what", OPERATIONS)
def test_no_operation_reads_every_task_of_tables_that_are_new(what: str, known: str, schemas: Schemas) -> None:
    """Without any statistics or rows each statement still begins with an index."""
    new = schemas.new()
    sent = [
        (text.replace(f"{schema_of(known)}.", f"{schema_of(new)}."), values, purpose)
        for text, values, purpose in sent_by(known, OPERATIONS[what])
    ]

    assert walking(explained(sent)) == []


def test_history_costs_a_claim_nothing(schemas: Schemas) -> None:
    """A claim of 100 tasks looks at as many pages beside 100,000 finished tasks as beside none.

    What is allowed besides is a page for each task, should an index become a level deeper, and the traces of the first
    claim, which was rolled back, where an old snapshot keeps them from being vacuumed. The history has thousands.
    """
    url = schemas.new()
    fill(url, "task", live=True)
    sent = sent_by(url, claim)
    again = [(text, dict(values) | {"lease": "another"}, purpose) for text, values, purpose in sent]
    young = sum(plan.buffers for plan in explained(again, executes=True))
    fill(url, "done", live=False)
    old = sum(plan.buffers for plan in explained(again, executes=True))

    assert 100 < young < CLAIM_PAGES
    assert old < young * 1.25 + 100


@asynchronous
async def test_plans_that_were_made_for_empty_tables_are_replaced(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was there before the tasks walks through all of them for seconds, not until somebody analyses."""
    url = schemas.new()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute("ALTER TABLE oncetask_task SET (autovacuum_enabled = off)")
    async with opened(url) as store:
        await claim(store)
        fill(url, "task", live=True, looks=False)
        monkeypatch.setattr(endpoint, "PLAN_SECONDS", 0.0)
        assert await claim(store, limit=1)
        plans = await store._here()["claims"].run(prepared)

    check_plans(plans, {"id", "ready", "leased"}, never=NEVER)


async def prepared(session: Session) -> list[Plan]:
    """Return the plans that a session keeps for claims."""
    found = await session.rows(
        "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%%'", {}
    )
    plans: list[Plan] = []
    for name, number in found:
        given = ", ".join(["NULL"] * number)
        ((plan,),) = await session.rows(f'EXPLAIN (FORMAT JSON) EXECUTE "{name}" ({given})', {})
        plans.append(plan_of(name, plan))
    return plans
