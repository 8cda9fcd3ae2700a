"""What a store is asked for, one after the other: every statement that it has is among them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Final

from oncetask_core.decisions import cancel, deletion, expire, report_progress, reschedule, reset
from oncetask_core.query import TaskFilter, TaskQuery
from oncetask_core.task import OnceTask, StoreNow
from oncetask_core.transition import Atom, Transition
from tests.servers.world import ServerStore
from tests.sql.world import HOUR, KIND, RULES, a_claim, new_task, settlement

Operation = Callable[[ServerStore], Awaitable[object]]
_numbers = count(1)


def named(what: str) -> str:
    """Return a name that nobody has used."""
    return f"{what} {next(_numbers)}"


async def some(store: ServerStore, *, key: str | None = None) -> list[OnceTask[object]]:
    """Create two tasks, and return them as stored."""
    ids = [named("new"), named("new")]
    await store.insert([new_task(task_id, key=key) for task_id in ids])
    return list((await store.get(ids)).tasks.values())


async def claim(store: ServerStore, *, limit: int = 100, group: int = 1) -> Sequence[OnceTask[object]]:
    """Claim tasks."""
    return (await store.claim(a_claim(named("lease"), limit=limit, group=group))).tasks


async def settle(store: ServerStore) -> None:
    """Settle what a claim was granted."""
    await store.apply([settlement(task) for task in await claim(store, limit=5, group=3)])


async def settle_twice(store: ServerStore) -> None:
    """Settle what was settled before, so that the reasons of refusals are read."""
    atoms = [settlement(task) for task in await claim(store, limit=2)]
    await store.apply(atoms)
    await store.apply(atoms)


async def settle_two_as_one(store: ServerStore) -> None:
    """Settle two tasks and create a third, together or not at all."""
    atoms = [settlement(task) for task in await claim(store, limit=2)]
    parts = tuple(part for atom in atoms for part in atom.transitions)
    await store.apply([Atom(parts, (new_task(named("new"), key="key 1"),))])


async def reschedule_them(store: ServerStore) -> None:
    """Move tasks that wait."""
    await store.apply([Atom((reschedule(task, StoreNow(HOUR)),)) for task in await some(store, key=named("key"))])


async def cancel_and_reset(store: ServerStore) -> None:
    """Cancel tasks that wait, and give them a new run."""
    tasks = await some(store, key=named("key"))
    await store.apply([Atom((_cancelled(task),)) for task in tasks])
    ended = (await store.get([task.id for task in tasks])).tasks.values()
    await store.apply([Atom((reset(task, run_uid=named("run")),)) for task in ended])


def _cancelled(task: OnceTask[object]) -> Transition:
    transition = cancel(task, has_cleanup=False)
    assert transition is not None
    return transition


async def expire_some(store: ServerStore) -> None:
    """List what has run out, and expire two of them."""
    page = await store.find(TaskQuery(where=RUN_OUT, limit=2))
    at = await store.now()
    await store.apply([Atom((expire(task, RULES, at=at, chance=0.0),)) for task in page.tasks])


async def delete_them(store: ServerStore) -> None:
    """Delete tasks."""
    await store.delete([deletion(task) for task in await some(store, key=named("key"))])


async def renew(store: ServerStore) -> None:
    """Extend a lease, and ask for it."""
    lease = named("lease")
    await store.claim(a_claim(lease, limit=2))
    await store.renew({lease: HOUR})
    await store.renew({lease: None})


async def report(store: ServerStore) -> None:
    """Write the progress of a task that is held."""
    await store.apply([Atom((report_progress(task, "half"),)) for task in await claim(store, limit=2)])


async def repeat(store: ServerStore) -> None:
    """Ask for a claim a second time."""
    for _ in range(2):
        await store.claim(a_claim("repeated", limit=2))


RUN_OUT: Final = TaskFilter(kinds=frozenset({KIND}), run_out=True)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "claim": claim,
    "claim of low priorities": lambda s: s.claim(a_claim(named("lease"), limit=3, kinds=["none"])),
    "claim of a suspect": lambda s: s.claim(a_claim(named("lease"), suspects=True)),
    "claim of groups": lambda s: claim(s, group=5),
    "repeated claim": repeat,
    "insert": lambda s: some(s, key="key 1"),
    "settle": settle,
    "second settle": settle_twice,
    "settle of two tasks as one": settle_two_as_one,
    "progress": report,
    "reschedule": reschedule_them,
    "cancel and reset": cancel_and_reset,
    "expire": expire_some,
    "delete": delete_them,
    "renew": renew,
    "count of what is due": lambda s: s.count(TaskFilter(kinds=frozenset({"rare"}), due=True)),
    "write of a control record": lambda s: s.write_control("pause", "1"),
}
LISTINGS: Final[Mapping[str, tuple[TaskFilter, str]]] = {
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
"""What workers list again and again, and the index that was made for it."""
