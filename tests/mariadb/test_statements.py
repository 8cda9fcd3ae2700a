"""What statements hold, which rows they lock, and what is too long for them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from oncetask_core.errors import StoreError
from oncetask_core.transition import Atom, Event, Guard, Transition, Verdict
from oncetask_sql.mariadb.literals import filled, literal
from tests.asynchronous import asynchronous
from tests.mariadb.world import Databases, a_transaction, needs_server, opened, run
from tests.servers.slow_motion import A_MOMENT
from tests.sql.world import a_claim, new_task, settlement

HARD = (
    "'",
    "\\",
    "\\'",
    '"',
    "%",
    "%(env)s",
    ":now",
    "oncetask_task",
    "--",
    "/*",
    ";",
    "é",
    "𝄞",
    "",
)


@needs_server
@pytest.mark.parametrize("text", HARD)
@asynchronous
async def test_a_text_comes_back_as_it_was(text: str, databases: Databases) -> None:
    """Whatever it holds, it is a value and no part of the statement."""
    async with opened(databases.new(), env=f"env {text}") as store:
        await store.insert([new_task(f"id {text}", key=f"key {text}")])
        (task,) = (await store.claim(a_claim(f"lease {text}"))).tasks
        answers = await store.apply([settlement(task)])
        await store.write_control(f"name {text}", text)
        found = (await store.get([f"id {text}"])).tasks[f"id {text}"]
        controls = await store.read_control(f"name {text}")

    assert answers[0].verdict is Verdict.APPLIED
    assert (task.resource_key, task.lease_uid) == (f"key {text}", f"lease {text}")
    assert found.outcome == "completed"
    assert controls[f"name {text}"].value == text


@pytest.mark.parametrize("value", [1.5, b"bytes", object(), {"a": 1.5}.values(), timedelta(1)])
def test_what_no_column_holds_is_refused(value: Any) -> None:
    """Nothing is guessed."""
    with pytest.raises(TypeError, match="has no place in a statement"):
        literal(value)


def test_damaged_text_is_refused() -> None:
    """It would arrive as other bytes."""
    with pytest.raises(ValueError, match="surrogates"):
        literal("\udc80")


def test_values_are_not_read_as_placeholders() -> None:
    """A value that looks like a placeholder stays what it is; a list that is empty holds nothing."""
    filled_in = filled("%(a)s %(b)s IN (%(c)s)", {"a": "%(b)s", "b": None, "c": [], "d": object()})

    assert filled_in == "'%(b)s' NULL IN (NULL)"
    assert filled("%(a)s", {"a": ["x", 1, True]}) == "'x',1,1"


@needs_server
@asynchronous
async def test_what_is_too_long_for_the_server_holds_up_nobody(databases: Databases) -> None:
    """A result beyond `max_allowed_packet` breaks its own atom; batches that are longer as a whole are divided."""
    long = "x" * 3_000_000
    async with opened(databases.new()) as store:
        await store.insert([new_task(f"t{number}") for number in range(9)])
        tasks = (await store.claim(a_claim("lease"))).tasks
        sizes = [20_000_000 if task.id == "t4" else len(long) for task in tasks]
        atoms = [_report(task.id, task.run_uid, "x" * size) for task, size in zip(tasks, sizes, strict=True)]
        answers = await store.apply(atoms)
        found = (await store.get([task.id for task in tasks])).tasks

    verdicts = {task.id: answer.verdict for task, answer in zip(tasks, answers, strict=True)}
    assert verdicts.pop("t4") is Verdict.BROKEN
    assert set(verdicts.values()) == {Verdict.APPLIED}
    assert [len(task.progress or "") for task in found.values() if task.id != "t4"] == [len(long)] * 8
    assert isinstance(answers[[task.id for task in tasks].index("t4")].error, StoreError)


def _report(task_id: str, run_uid: str, text: str) -> Atom:
    guard = Guard(id=task_id, run_uid=run_uid, kind="kind", resource_key=None, lease_uid="lease")
    return Atom((Transition(Event.PROGRESS, guard, {"progress": text}),))


@needs_server
@pytest.mark.usefixtures("slow_motion")
@pytest.mark.parametrize("locked", ["a", "finished", "of another key", "of another kind"])
@asynchronous
async def test_no_statement_waits_for_a_row_that_it_does_not_need(locked: str, databases: Databases) -> None:
    """In a table of few rows, too, where the server would rather read all of them."""
    url = databases.new()
    async with opened(url) as store:
        await store.insert([new_task("finished"), new_task("of another kind", kind="letter")])
        (task,) = (await store.claim(a_claim("first", limit=1))).tasks
        await store.apply([settlement(task)])
        await store.insert([new_task("a"), new_task("of another key", key="l")])
        with a_transaction(url, f"SELECT 1 FROM oncetask_task WHERE env = 'DEFAULT' AND id = '{locked}' FOR UPDATE"):
            async with asyncio.timeout(A_MOMENT):
                await store.insert([new_task("b", key="k"), new_task("c", key="k"), new_task("d")])
                claimed = await store.claim(a_claim("lease"))
                renewed = await store.renew({"lease": timedelta(hours=1)})
                answers = await store.apply([settlement(one) for one in claimed.tasks])
                later = await store.claim(a_claim("lease 2"))

    expected = {"a", "b", "d", "of another key"} - {locked}
    assert {one.id for one in claimed.tasks} == expected
    assert all(lease.is_extended for lease in renewed.held)
    assert {answer.verdict for answer in answers} == {Verdict.APPLIED}
    assert [one.id for one in later.tasks] == ["c"]
    assert run(url, "SELECT COUNT(*) FROM oncetask_later") == ((0,),)
