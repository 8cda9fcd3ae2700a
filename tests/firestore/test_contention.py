"""Others are always faster, or a value is beyond what can be kept: each call ends, says so, and has written nothing."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.decisions import KindRules, Success, conclude, deletion
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore
from oncetask_firestore.database import Database
from oncetask_firestore.texts import HIDDEN
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.test_claiming import a_claim, new, project_of, settled, taken
from tests.firestore.world import documents, needs_server, new_project, opened, put

pytestmark = needs_server

RULES = KindRules()
FILLING = 1_048_200
"""Characters of a text that leave no room in a document for the reason why it is set aside."""


async def always_refused(*_: object, **__: object) -> None:
    """Stand in for a commit whose documents somebody else has just written."""


async def _apply(store: FirestoreStore) -> object:
    (task,) = (await store.get(["held"])).tasks.values()
    return await store.apply([settled(task)])


async def _insert(store: FirestoreStore) -> object:
    return await store.insert([new("other")])


async def _delete(store: FirestoreStore) -> object:
    return await store.delete([deletion((await store.get(["free"])).tasks["free"])])


async def _control(store: FirestoreStore) -> object:
    return await store.write_control("pause", "1")


@pytest.mark.parametrize("call", [_apply, _insert, _delete, _control])
@asynchronous
async def test_a_call_that_is_always_overtaken_ends(
    call: Callable[[FirestoreStore], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a store that is not available now: whoever asks again later is served."""
    async with opened(new_project()) as store:
        await store.insert([new("held"), new("free")])
        await taken(store, "lease", 1)
        before = await documents(project_of(store))
        with monkeypatch.context() as patched:
            patched.setattr(Database, "commit", always_refused)
            with pytest.raises(StoreUnavailableError, match="20 times in between; ask again"):
                await call(store)

        assert await documents(project_of(store)) == before
        await call(store)


@asynchronous
async def test_a_claim_or_renewal_that_is_always_overtaken_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is granted, and what is held is told to be held without being extended."""
    async with opened(new_project()) as store:
        await store.insert([new("a"), new("b")])
        (held,) = await taken(store, "lease", 1)
        monkeypatch.setattr(Database, "commit", always_refused)
        renewed = await store.renew({"lease": timedelta(hours=2)})

        assert [(one.id, one.is_extended) for one in renewed.held] == [(held.id, False)]
        assert await taken(store, "another lease", 5) == []


@asynchronous
async def test_a_lease_beyond_the_calendar_is_refused() -> None:
    """Nothing is leased or extended."""
    async with opened(new_project()) as store:
        await store.insert([new("a")])
        with pytest.raises(StoreError, match="nothing was leased"):
            await store.claim(msgspec.structs.replace(a_claim("lease", 1), lease_for=timedelta.max))
        (task,) = await taken(store, "lease", 1)
        with pytest.raises(StoreError, match="nothing was extended"):
            await store.renew({"lease": timedelta.max})

        assert (await store.get(["a"])).tasks["a"].leased_until == task.leased_until


@asynchronous
async def test_a_text_that_is_none_is_refused() -> None:
    """A lone surrogate in a payload; in a result its task alone is refused."""
    async with opened(new_project()) as store:
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.insert([msgspec.structs.replace(new("a"), payload='"\ud800"')])
        await store.insert([new("a"), new("b")])
        first, second = await taken(store, "lease", 2)
        bad = Atom((conclude(first, Success('"\ud800"'), RULES, chance=0.0),))
        answers = await store.apply([bad, settled(second)])

        assert [answer.verdict for answer in answers] == [Verdict.BROKEN, Verdict.APPLIED]


@asynchronous
async def test_a_malformed_document_that_is_full_is_set_aside() -> None:
    """Without room for the reason; its id stays taken, and it is neither deleted nor changed by who cannot read it."""
    async with opened(new_project()) as store:
        now = datetime.now(UTC)
        data = {"text": "x" * FILLING}
        full = golang.created("full", now, type="kind", env=store.env, data=data) | {"attempts": "three"}
        await put(project_of(store), "full", full)
        claimed = await store.claim(a_claim("lease", 5))
        (answer,) = await store.insert([new("full")])
        stored = (await documents(project_of(store)))["full"]

        assert claimed.tasks == []
        assert list(claimed.unreadable) == ["full"]
        assert stored == full | {"waitUntil": HIDDEN}
        assert (answer.created, answer.kind) == (False, "kind")
        assert list((await store.get(["full"])).unreadable) == ["full"]
        await put(project_of(store), "full", full | {"attempts": 3})  # mended, as its owner would


@asynchronous
async def test_a_group_is_claimed_without_the_one_that_is_full() -> None:
    """The head first, then the rest of the key, once what is full is set aside."""
    async with opened(new_project()) as store:
        now = datetime.now(UTC)
        for task_id, data in (("1", {}), ("2", {"text": "x" * 1_048_000}), ("3", {})):
            fields = golang.created(task_id, now, type="kind", env=store.env, resourceKey="k", data=data)
            await put(project_of(store), task_id, fields)
        seen: list[list[str]] = []
        for number in range(4):
            slots = {"kind": Slots(limit=1, group=3)}
            claim = Claim(lease_uid=f"{number}", leased_by="w", lease_for=timedelta(hours=1), slots=slots)
            tasks = (await store.claim(claim)).tasks
            await store.apply([settled(task) for task in tasks])
            seen.append([task.id for task in tasks])

    assert [ids for ids in seen if ids] == [["1"], ["3"]]
