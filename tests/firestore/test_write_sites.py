"""Each commit that a call makes, wherever in the code: its reply is lost, or it is refused for a moment.

Afterwards every document is as after the same call without a fault.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

import oncetask_firestore
from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import Failure, KindRules, Released, Uids, conclude, expire, report_progress, reset, tick
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.recurrence import Cursor, Due, Recurrence
from oncetask_core.task import NewTask, OnceTask
from oncetask_core.transition import Atom
from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import Database
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.test_faults import DEEDS, Deed, a_claim, a_task, project_of
from tests.firestore.world import Faults, documents, looking, needs_server, new_project, opened, put

pytestmark = needs_server

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOST_COMMITS = 20
RULES = KindRules()


async def many(store: FirestoreStore) -> None:
    """Insert more than a claim reads, and leave a trace of an instance that ended long ago."""
    await store.insert([a_task(f"{number:03}") for number in range(101)])
    async with looking(project_of(store)) as client:
        await client.collection("onceTaskWorkers").document("dead").set({"env": DEFAULT_ENV, "seen": 0})


async def claim_of_many(store: FirestoreStore) -> object:
    """Claim while others may claim too."""
    tasks = (await store.claim(a_claim())).tasks
    workers = await documents(project_of(store), "onceTaskWorkers")
    return len({task.id for task in tasks}), "dead" in workers


async def a_malformed_document(store: FirestoreStore) -> None:
    """Put a task there that nobody can read, before one that can be."""
    broken = golang.created("broken", START, type="kind", env=DEFAULT_ENV) | {"attempts": "three"}
    await put(project_of(store), "broken", broken)
    await store.insert([a_task()])


async def claim_beside_it(store: FirestoreStore) -> object:
    """Claim what can be had."""
    claimed = await store.claim(a_claim())
    return [task.id for task in claimed.tasks], list(claimed.unreadable)


async def a_full_document(store: FirestoreStore) -> None:
    """Put a task there whose document has no room for a lease."""
    full = golang.created("full", START, type="kind", env=DEFAULT_ENV, data={"text": "x" * 1_048_000})
    await put(project_of(store), "full", full)
    await store.insert([a_task()])


async def a_group(store: FirestoreStore) -> None:
    """Insert the tasks of one key."""
    await store.insert([a_task(f"{number}", key="k") for number in range(5)])


async def claim_of_a_group(store: FirestoreStore) -> object:
    """Claim three of a key, fail one, give one back, report on one, and claim again."""
    slots = {"kind": Slots(limit=1, group=3)}
    claim = Claim(lease_uid="lease", leased_by="w", lease_for=HOUR, slots=slots)
    first, second, third = (await store.claim(claim)).tasks
    failure = Failure(error=ValueError("no"), text="no", at=START)
    atoms = [
        Atom((conclude(first, failure, RULES, chance=0.0),)),
        Atom((conclude(second, Released(), RULES, chance=0.0),)),
        Atom((report_progress(third, "half"),)),
    ]
    answers = await store.apply(atoms)
    return [answer.verdict.name for answer in answers]


async def a_lease_that_ran_out(store: FirestoreStore) -> None:
    """Let a worker vanish with a task."""
    await store.insert([a_task()])
    short = Claim(lease_uid="short", leased_by="w", lease_for=timedelta(0), slots={"kind": Slots(1)})
    await store.claim(short)


async def expiry_and_claim(store: FirestoreStore) -> object:
    """Expire the lease, and claim the suspect."""
    (task,) = (await store.get(["a"])).tasks.values()
    (answer,) = await store.apply([Atom((expire(task, RULES, at=START, chance=0.0),))])
    suspects = Claim(lease_uid="next", leased_by="w", lease_for=HOUR, slots={"kind": Slots(1)}, suspects=True)
    return answer.verdict.name, [(one.id, one.crashes, one.claims) for one in (await store.claim(suspects)).tasks]


async def a_generator(store: FirestoreStore) -> None:
    """Insert a generator."""
    rule = Recurrence(rrule="FREQ=DAILY", dtstart=START)
    new = NewTask(id="g", kind="kind", payload="{}", run_uid="run", created_by="me", recurrence=rule)
    await store.insert([new])


async def a_tick(store: FirestoreStore) -> object:
    """Create two occurrences and move the generator."""
    (generator,) = (await store.get(["g"])).tasks.values()
    due = Due(fire=(START, START + 24 * HOUR), next=Cursor(slot=START + 48 * HOUR, used=1))
    (answer,) = await store.apply([tick(generator, due, Uids(created_by="tick", run_uids=("1", "2")))])
    return answer.verdict.name, [one.created for one in answer.inserted]


async def a_settled_task(store: FirestoreStore) -> None:
    """Complete a task."""
    begin, settle, _ = DEEDS["settle"]
    await begin(store)
    await settle(store)


async def a_reset(store: FirestoreStore) -> object:
    """Give a task that ended another run."""
    (task,) = (await store.get(["a"])).tasks.values()
    (answer,) = await store.apply([Atom((reset(task, run_uid="again"),))])
    return answer.verdict.name


ALL: Mapping[str, tuple[Deed, Deed]] = {
    **{name: (begin, deed) for name, (begin, deed, _) in DEEDS.items()},
    "claim of many": (many, claim_of_many),
    "claim beside a malformed document": (a_malformed_document, claim_beside_it),
    "claim beside a full document": (a_full_document, claim_beside_it),
    "group": (a_group, claim_of_a_group),
    "expiry": (a_lease_that_ran_out, expiry_and_claim),
    "tick": (a_generator, a_tick),
    "reset": (a_settled_task, a_reset),
}


class Trace(NamedTuple):
    """What a call answered and left behind, and how many commits it took."""

    answer: object
    left: object
    commits: int


class Sites:
    """Which functions make commits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[str] = set()
        commit = Database.commit

        def begun(database: Database, *arguments: Any, **options: Any) -> Any:
            caller = sys._getframe(1).f_code
            self.seen.add(f"{Path(caller.co_filename).stem}.{caller.co_name}")
            return commit(database, *arguments, **options)

        monkeypatch.setattr(Database, "commit", begun)


def sites_in_the_code() -> set[str]:
    """Return the functions of the store that make commits, as their source says."""
    return {
        f"{path.stem}.{function.name}"
        for path in Path(inspect.getfile(oncetask_firestore)).parent.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.AsyncFunctionDef)
        if any(_is_commit(node) for node in ast.walk(function))
    }


def _is_commit(node: ast.AST) -> bool:
    """Tell whether a node calls `database.commit` or `self._database.commit`."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="database") | ast.Attribute(attr="_database"), attr="commit")
        ):
            return True
    return False


async def traced(name: str, faults: Faults, arm: Callable[[], None]) -> Trace:
    """Make a call on a project of its own; return what came of it."""
    begin, deed = ALL[name]
    project = new_project()
    async with opened(project, clock=VirtualClock(START)) as store:
        await begin(store)
        faults.calls.clear()
        arm()
        answer = await deed(store)
        commits = sum(call == "Commit" for call, _ in faults.calls)
        disarm(faults)
        return Trace(answer, await left_in(store), commits)


def disarm(faults: Faults) -> None:
    """Let everything pass."""
    faults.before = faults.after = lambda _name, _request: None


async def left_in(store: FirestoreStore) -> object:
    """Return what all tasks and locks say, but for random names and the time of Firestore's own clock."""
    ids = [fields["id"] for fields in (await documents(project_of(store))).values()]
    tasks = (await store.get(ids)).tasks
    locks = await documents(project_of(store), "onceTaskKeys")
    controls = await documents(project_of(store), "onceTaskControls")
    rows = {task_id: _row(task) for task_id, task in tasks.items()}
    return (
        Counter(rows.values()) if len(rows) > 100 else rows,  # of so many alike it does not matter which
        sorted((lock["resourceKey"], lock["epoch"], lock["holders"]) for lock in locks.values()),
        sorted((record["name"], record["value"], record["revision"]) for record in controls.values()),
    )


def _row(task: OnceTask[object]) -> tuple[object, ...]:
    ours = ("lease_uid", "claims", "failures", "crashes", "outcome", "progress", "wait_until")
    more = ("leased_until", "settled_by", "error_count", "slots_used")
    by_go = task.run_uid.startswith("go:")  # run and revision of a task that only Go wrote are times of the server
    run = ("go", 0) if by_go else (task.run_uid, task.revision)
    return (*run, *(getattr(task, name) for name in (*ours, *more)))


class NthCommit:
    """A fault that strikes one commit, counted from 0."""

    def __init__(self, place: int, code: grpc.StatusCode) -> None:
        self._left = place
        self._code = code
        self.struck = False

    def __call__(self, name: str, _: Any) -> grpc.StatusCode | None:
        if name != "Commit":
            return None
        self._left -= 1
        self.struck |= self._left == -1
        return self._code if self._left == -1 else None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ALL)
@asynchronous
async def test_each_commit_of_a_call_may_be_struck(name: str, when: str, faults: Faults) -> None:
    """It is refused, or its reply is lost: the answer and all that is stored are as without it."""
    calm = await traced(name, faults, lambda: disarm(faults))
    code = grpc.StatusCode.ABORTED if when == "before" else grpc.StatusCode.UNAVAILABLE
    assert 0 < calm.commits < MOST_COMMITS
    struck = 0
    for place in range(calm.commits):
        fault = NthCommit(place, code)
        trace = await traced(name, faults, partial(setattr, faults, when, fault))

        assert trace[:2] == calm[:2]
        assert trace.commits >= calm.commits + fault.struck
        struck += fault.struck

    assert struck > 0
    assert struck == calm.commits or when == "after", "a refusal that the server means has no lost reply"


@asynchronous
async def test_every_site_that_commits_is_among_them(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that is added to the code has to be struck here as well; a bell that is not heard costs a poll alone."""
    sites = Sites(monkeypatch)
    for name in ALL:
        await traced(name, faults, lambda: disarm(faults))

    assert sites.seen == sites_in_the_code() - {"waking._ring"}
