"""Keys that workers of the Go library claim as well: neither side takes one on which the other holds a lease."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from oncetask_core.claims import Claim, Slots
from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Success, conclude, expire
from oncetask_core.errors import StoreUnavailableError
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom, Verdict
from oncetask_firestore import FirestoreStore, database
from tests.asynchronous import asynchronous
from tests.firestore import golang
from tests.firestore.world import Fault, Faults, documents, needs_server, new_project, once, opened, put

pytestmark = needs_server

NOW = datetime(2026, 11, 21, 2, 30, 0, 250_000, tzinfo=UTC)


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

        async def go_claims() -> None:
            await put(project, "b", golang.claim((await documents(project))["b"], NOW))

        faults.meanwhile = go_claims
        faults.after = once(grpc.StatusCode.UNAVAILABLE, "Commit")
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

        async def go_claims() -> None:
            await put(project, "b", golang.claim((await documents(project))["b"], NOW))
            faults.before = lambda name, _: grpc.StatusCode.UNAVAILABLE if name == "RunQuery" else None

        faults.meanwhile = go_claims
        faults.after = once(grpc.StatusCode.UNAVAILABLE, "Commit")
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


@pytest.mark.parametrize("key", ["k", ""])
@pytest.mark.parametrize("what", ["settle", "renew"])
@asynchronous
async def test_what_a_holder_writes_is_not_repeated_when_its_lease_has_ended_as_go_reads_it(
    what: str, key: str, faults: Faults
) -> None:
    """It was decided on in time and never arrived; since then a Go worker may have taken the key."""
    project, clock = new_project(), VirtualClock(NOW)
    await put(project, "a", golang.created("a", NOW, env="DEFAULT", resourceKey=key))
    async with opened(project, clock=clock, shared_with_go=True) as store:
        (task,) = (await store.claim(a_claim())).tasks
        faults.before = outlasting(clock)
        is_done = await by_holder(store, task, what)
        fields = (await documents(project))["a"]

    assert faults.before("Commit", None) is None, "no request was lost"
    assert is_done is (key == "")
    if key:
        assert (fields["doneAt"], fields["leasedUntil"]) == ("", golang.text(NOW + timedelta(seconds=10)))


@pytest.mark.parametrize("what", ["settle", "renew"])
@asynchronous
async def test_what_a_holder_wrote_in_time_counts_although_the_reply_comes_later(what: str, faults: Faults) -> None:
    """The repeat is not sent; the document tells that the first request was obeyed."""
    project, clock = new_project(), VirtualClock(NOW)
    await put(project, "a", golang.created("a", NOW, env="DEFAULT", resourceKey="k"))
    async with opened(project, clock=clock, shared_with_go=True) as store:
        (task,) = (await store.claim(a_claim())).tasks
        faults.calls.clear()
        faults.after = outlasting(clock)
        assert await by_holder(store, task, what)
        sent = [[write.update.name for write in request.writes] for name, request in faults.calls if name == "Commit"]

    assert len(sent) == 1, sent


def outlasting(clock: VirtualClock) -> Fault:
    """Return a fault that strikes one commit, and lasts until the leases of this module have ended."""
    left = [grpc.StatusCode.UNAVAILABLE]

    def strike(name: str, _: object) -> grpc.StatusCode | None:
        if name != "Commit" or not left:
            return None
        clock.advance(timedelta(seconds=11))
        return left.pop()

    return strike


async def by_holder(store: FirestoreStore, task: OnceTask[object], what: str) -> bool:
    """Settle or renew a task; return whether that is accepted."""
    if what == "renew":
        return bool((await store.renew({task.lease_uid or "": timedelta(seconds=30)})).held)
    (answer,) = await store.apply([Atom((conclude(task, Success(), KindRules(), chance=0.0),))])
    return answer.verdict is Verdict.APPLIED
