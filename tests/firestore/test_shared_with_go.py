"""Keys that workers of the Go library claim as well: neither side takes one on which the other holds a lease."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Success, conclude, expire
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import database
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.world import Faults, documents, faulty, needs_server, new_project, opened, put

pytestmark = needs_server

NOW = datetime(2026, 11, 21, 2, 30, 0, 250_000, tzinfo=UTC)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The calls in the channel."""
    with faulty(monkeypatch) as made:
        yield made


def a_claim(lease_uid: str = "lease") -> Claim:
    """Return a claim of one task for ten seconds."""
    return Claim(lease_uid=lease_uid, leased_by="w", lease_for=timedelta(seconds=10), slots={"kind": Slots(1)})


async def filled(project: str) -> None:
    """Put three tasks of one key into a collection."""
    for task_id in "abc":
        fields = golang.created(
            task_id, NOW, env="DEFAULT", resourceKey="k", waitUntil=f"2026-11-21T02:29:0{ord(task_id) - 96}Z"
        )
        await put(project, task_id, fields)


@asynchronous
async def test_a_lease_that_go_wrote_meanwhile_is_given_way(faults: Faults) -> None:
    """Go committed after we had looked and before our own commit: what we claimed goes back, nothing is charged."""
    project, clock = new_project(), VirtualClock(NOW)
    await filled(project)
    async with opened(project, clock=clock, shared_with_go=True) as store:
        left = [grpc.StatusCode.UNAVAILABLE]

        async def go_claims() -> None:
            await put(project, "b", golang.claim((await documents(project))["b"], NOW))

        faults.meanwhile = go_claims
        faults.after = lambda name, _: left.pop() if name == "Commit" and left else None
        claimed = await store.claim(a_claim())
        fields = (await documents(project))["a"]

    assert list(claimed.tasks) == []
    assert (fields["leasedUntil"], fields["errors"], fields["doneAt"]) == ("", None, "")
    assert fields["oncetask"]["claims"] == 1
    assert golang.faults(fields) == []


@asynchronous
async def test_a_claim_that_is_repeated_gives_way_as_well(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request leased, and broke off before it had looked at what Go did meanwhile."""
    project, clock = new_project(), VirtualClock(NOW)
    await filled(project)
    async with opened(project, clock=clock, shared_with_go=True) as store:
        left = [grpc.StatusCode.UNAVAILABLE]

        async def go_claims() -> None:
            await put(project, "b", golang.claim((await documents(project))["b"], NOW))
            faults.before = lambda name, _: grpc.StatusCode.UNAVAILABLE if name == "RunQuery" else None

        faults.meanwhile = go_claims
        faults.after = lambda name, _: left.pop() if name == "Commit" and left else None
        with monkeypatch.context() as hasty:
            hasty.setattr(database, "PATIENCE_SECONDS", 0.0)
            with pytest.raises(StoreUnavailableError):
                await store.claim(a_claim())
        faults.before = lambda _name, _request: None
        leased = (await documents(project))["a"]["leasedUntil"]
        claimed = await store.claim(a_claim())
        fields = (await documents(project))["a"]

    assert leased
    assert list(claimed.tasks) == []
    assert (fields["leasedUntil"], fields["errors"], fields["doneAt"]) == ("", None, "")


@asynchronous
async def test_a_lease_of_go_that_ran_out_is_no_reason_to_give_way() -> None:
    """Once it is expired, the key goes on."""
    project, clock = new_project(), VirtualClock(NOW)
    await filled(project)
    await put(project, "a", golang.claim((await documents(project))["a"], NOW, timedelta(seconds=30)))
    async with opened(project, clock=clock, shared_with_go=True) as store:
        early = await store.claim(a_claim())
        clock.advance(timedelta(seconds=31))
        (held,) = (await store.get(["a"])).tasks.values()
        await store.apply([Atom((expire(held, KindRules(max_crashes=1), at=NOW, chance=0.0),))])
        (task,) = (await store.claim(a_claim("second"))).tasks

    assert list(early.tasks) == []
    assert task.id == "b"


@pytest.mark.parametrize("key", ["k", ""])
@asynchronous
async def test_a_holder_of_a_key_stops_when_its_lease_ends_as_go_reads_it(key: str) -> None:
    """A fraction of a second before our own end, which Go does not see; without a key nobody minds."""
    project, clock = new_project(), VirtualClock(NOW)
    await put(project, "a", golang.created("a", NOW, env="DEFAULT", resourceKey=key))
    async with opened(project, clock=clock, shared_with_go=True) as store:
        (task,) = (await store.claim(a_claim())).tasks
        clock.advance(timedelta(seconds=9.7))
        assert len((await store.renew({"lease": None})).held) == 1
        clock.advance(timedelta(seconds=0.2))
        held = (await store.renew({"lease": timedelta(seconds=10)})).held
        (answer,) = await store.apply([Atom((conclude(task, Success(), KindRules(), chance=0.0),))])

    assert task.leased_until is not None
    assert task.leased_until > clock.now()
    assert len(held) == (0 if key else 1)
    assert answer.verdict is (Verdict.LEASE_LOST if key else Verdict.APPLIED)
