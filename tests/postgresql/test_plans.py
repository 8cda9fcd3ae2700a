"""How PostgreSQL plans the store's statements over 200,000 rows, half of them history, and over none."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count

import pytest

from oncetask_core.decisions import KindRules, cancel, deletion, expire, report_progress, reschedule, reset
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Atom, Transition
from oncetask_sql.postgresql import PostgresqlStore, lane
from oncetask_sql.postgresql.session import Session
from tests.asynchronous import asynchronous
from tests.postgresql.explaining import Plan, Sent, explained, plan_of, recorded
from tests.postgresql.world import Schemas, connected, needs_server, opened, schema_of
from tests.sql.world import HOUR, KIND, a_claim, new_task, settlement

pytestmark = [needs_server, pytest.mark.alone, pytest.mark.timeout(300)]

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


Operation = Callable[[PostgresqlStore], Awaitable[object]]
_numbers = count(1)


def named(what: str) -> str:
    """Return a name that nobody has used."""
    return f"{what} {next(_numbers)}"


async def some(store: PostgresqlStore, *, key: str | None = None) -> list[OnceTask[object]]:
    """Create two tasks, and return them as stored."""
    ids = [named("new"), named("new")]
    await store.insert([new_task(task_id, key=key) for task_id in ids])
    return list((await store.get(ids)).tasks.values())


async def claim(store: PostgresqlStore, *, limit: int = 100, group: int = 1) -> Sequence[OnceTask[object]]:
    """Claim tasks."""
    return (await store.claim(a_claim(named("lease"), limit=limit, group=group))).tasks


async def settle(store: PostgresqlStore) -> None:
    """Settle what a claim was granted."""
    await store.apply([settlement(task) for task in await claim(store, limit=5, group=3)])


async def settle_twice(store: PostgresqlStore) -> None:
    """Settle what was settled before, so that the reasons of refusals are read."""
    atoms = [settlement(task) for task in await claim(store, limit=2)]
    await store.apply(atoms)
    await store.apply(atoms)


async def settle_two_as_one(store: PostgresqlStore) -> None:
    """Settle two tasks and create a third, together or not at all."""
    atoms = [settlement(task) for task in await claim(store, limit=2)]
    parts = tuple(part for atom in atoms for part in atom.transitions)
    await store.apply([Atom(parts, (new_task(named("new"), key="key 1"),))])


async def reschedule_them(store: PostgresqlStore) -> None:
    """Move tasks that wait."""
    await store.apply([Atom((reschedule(task, StoreNow(HOUR)),)) for task in await some(store, key=named("key"))])


async def cancel_and_reset(store: PostgresqlStore) -> None:
    """Cancel tasks that wait, and give them a new run."""
    tasks = await some(store, key=named("key"))
    await store.apply([Atom((_cancelled(task),)) for task in tasks])
    ended = (await store.get([task.id for task in tasks])).tasks.values()
    await store.apply([Atom((reset(task, run_uid=named("run")),)) for task in ended])


def _cancelled(task: OnceTask[object]) -> Transition:
    transition = cancel(task, has_cleanup=False)
    assert transition is not None
    return transition


async def expire_some(store: PostgresqlStore) -> None:
    """List what has run out, and expire two of them."""
    page = await store.find(TaskQuery(where=RUN_OUT, limit=2))
    at = await store.now()
    await store.apply([Atom((expire(task, RULES, at=at, chance=0.0),)) for task in page.tasks])


async def delete_them(store: PostgresqlStore) -> None:
    """Delete tasks."""
    await store.delete([deletion(task) for task in await some(store, key=named("key"))])


async def renew(store: PostgresqlStore) -> None:
    """Extend a lease, and ask for it."""
    lease = named("lease")
    await store.claim(a_claim(lease, limit=2))
    await store.renew({lease: HOUR})
    await store.renew({lease: None})


async def report(store: PostgresqlStore) -> None:
    """Write the progress of a task that is held."""
    await store.apply([Atom((report_progress(task, "half"),)) for task in await claim(store, limit=2)])


async def repeat(store: PostgresqlStore) -> None:
    """Ask for a claim a second time."""
    for _ in range(2):
        await store.claim(a_claim("repeated", limit=2))


RULES = KindRules()
RUN_OUT = TaskFilter(kinds=frozenset({KIND}), run_out=True)
EVERYTHING = 10**6
OPERATIONS: dict[str, tuple[Operation, set[str]]] = {
    "claim": (claim, {"id", "ready"}),
    "claim of low priorities": (lambda s: s.claim(a_claim(named("lease"), limit=3, kinds=["none"])), {"low", "live"}),
    "claim of a suspect": (lambda s: s.claim(a_claim(named("lease"), suspects=True)), {"suspect"}),
    "claim of groups": (lambda s: claim(s, group=5), {"ready", "wait"}),
    "repeated claim": (repeat, {"leased"}),
    "insert": (lambda s: some(s, key="key 1"), {"head", "wait", "member"}),
    "settle": (settle, {"id", "head", "wait", "member"}),
    "second settle": (settle_twice, {"id"}),
    "settle of two tasks as one": (settle_two_as_one, {"id", "head", "wait", "member"}),
    "progress": (report, {"id"}),
    "reschedule": (reschedule_them, {"id", "head", "wait", "member"}),
    "cancel and reset": (cancel_and_reset, {"id", "head", "wait", "member"}),
    "expire": (expire_some, {"id", "leased"}),
    "delete": (delete_them, {"id", "head", "wait", "member"}),
    "renew": (renew, {"id", "leased"}),
    "count of what is due": (lambda s: s.count(TaskFilter(kinds=frozenset({"rare"}), due=True)), {"live"}),
    "write of a control record": (lambda s: s.write_control("pause", "1"), set()),
}
LISTINGS: dict[str, tuple[TaskFilter, str]] = {
    "what ran out": (RUN_OUT, "leased"),
    "due generators": (TaskFilter(kinds=frozenset({KIND}), live=True, due=True, generators=True), "generator"),
    "due suspects": (
        TaskFilter(kinds=frozenset({KIND}), live=True, due=True, suspects=True, generators=False),
        "suspect",
    ),
    "a key": (TaskFilter(resource_key="key 1"), "key"),
    "by id": (TaskFilter(ids=frozenset({"task 1"}), live=True), "id"),
    "what is old enough to go": (TaskFilter(done_before=datetime(1970, 1, 1, tzinfo=UTC)), "done"),
}
UNTIL_KNOWN = ("what is old enough to go",)
"""What only statistics tell."""


def sent_by(url: str, operation: Operation) -> list[Sent]:
    """Return what a store sends during an operation."""

    async def run() -> list[Sent]:
        async with opened(url) as store:
            with recorded() as sent:
                await operation(store)
        return sent

    return asyncio.run(run())


def check(plans: Sequence[Plan], indexes: set[str]) -> None:
    """Fail where tasks are read from end to end, or by an index that was made for something else."""
    assert [plan for plan in plans if plan.walks - {"oncetask_later"}] == []
    assert not set().union(*(plan.indexes for plan in plans)) & ({"sequence", "key", "done"} - indexes)
    assert indexes <= set().union(*(plan.indexes for plan in plans))


@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize("place", ["known", "grown"])
def test_no_operation_reads_every_task(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """The hot paths search the indexes that were made for them, with statistics and without."""
    operation, indexes = OPERATIONS[what]
    url: str = request.getfixturevalue(place)

    check(explained(sent_by(url, operation)), indexes)


@pytest.mark.parametrize("what", LISTINGS)
@pytest.mark.parametrize("place", ["known", "grown"])
def test_a_narrow_listing_searches_its_index(what: str, place: str, request: pytest.FixtureRequest) -> None:
    """What workers list at every poll is found without walking through the history."""
    where, index = LISTINGS[what]
    url: str = request.getfixturevalue(place)
    plans = explained(sent_by(url, lambda store: store.find(TaskQuery(where=where, limit=500))))

    if place == "known" or what not in UNTIL_KNOWN:
        check(plans, {index})


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
        for text, values, purpose in sent_by(known, OPERATIONS[what][0])
    ]

    assert [plan for plan in explained(sent) if plan.walks - {"oncetask_later"}] == []


def test_history_costs_a_claim_nothing(schemas: Schemas) -> None:
    """A claim of 100 tasks looks at as many pages beside 100,000 finished tasks as beside none.

    The hundred pages more that are allowed are one for each task, should an index become a level deeper.
    """
    url = schemas.new()
    fill(url, "task", live=True)
    sent = sent_by(url, claim)
    again = [(text, dict(values) | {"lease": "another"}, purpose) for text, values, purpose in sent]
    young = sum(plan.buffers for plan in explained(again, executes=True))
    fill(url, "done", live=False)
    old = sum(plan.buffers for plan in explained(again, executes=True))

    assert 100 < young < CLAIM_PAGES
    assert old < young * 1.1 + 100


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
        monkeypatch.setattr(lane, "PLAN_SECONDS", 0.0)
        assert await claim(store, limit=1)
        plans = await store._here()["claims"].run(prepared)

    check(plans, {"id", "ready", "leased"})


async def prepared(session: Session) -> list[Plan]:
    """Return the plans that a session keeps for claims."""
    names = await session.rows("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%%'", {})
    found = await session.rows(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%%'", {}
    )
    plans: list[Plan] = []
    for (name,), (number,) in zip(names, found, strict=True):
        given = ", ".join(["NULL"] * number)
        ((plan,),) = await session.rows(f'EXPLAIN (FORMAT JSON) EXECUTE "{name}" ({given})', {})
        plans.append(plan_of(name, plan))
    return plans
