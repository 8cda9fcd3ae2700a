"""Our statements and those of Go workers in random orders, one by one, on a model of Firestore and on the emulator."""

import asyncio
import os
from collections.abc import Callable

import pytest

from oncetask_firestore import claiming, database, loops, writing
from oncetask_firestore.texts import rounded_up
from oncetask_firestore.wire import MalformedError
from tests.firestore.interleaving import Ground, Interleaving, ModelGround, ServerGround
from tests.firestore.world import documents, looking, needs_server, new_project

RUNS = int(os.environ.get("ONCETASK_INTERLEAVINGS", "30"))
ON_THE_SERVER = int(os.environ.get("ONCETASK_INTERLEAVINGS_FIRESTORE", "1"))
FIRST = int(os.environ.get("ONCETASK_RACE_SEED", "0"))
CAUGHT = 150
"""In how many runs at most a broken variant is caught."""
Broken = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def on_ground(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ground], None]:
    """Makes our stores wait for their turns on some ground, and repeat a lost commit without a pause."""

    def put(ground: Ground) -> None:
        monkeypatch.setattr(database, "Channel", ground.channel)
        monkeypatch.setattr(database, "FIRST_PAUSE", 0.0)

    return put


@pytest.fixture
def played(on_ground: Callable[[Ground], None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Interleaving]:
    """Plays runs on the model."""
    monkeypatch.setattr(loops, "new_client", lambda _options: None)
    monkeypatch.setattr(loops, "name_of", lambda _client: "a model of Firestore")

    def play(seed: int, *, shared: bool = True) -> Interleaving:
        ground = ModelGround(seed)
        on_ground(ground)
        run = Interleaving(seed, ground, shared=shared)
        asyncio.run(run.run())
        return run

    return play


def test_no_order_of_statements_breaks_a_promise(played: Callable[..., Interleaving]) -> None:
    """No overlap on a key, both sides read the same state after every write, everything is done in the end."""
    for seed in range(FIRST, FIRST + RUNS):
        run = played(seed)
        assert run.wrong == [], str(run)


def test_an_order_follows_from_its_seed(played: Callable[..., Interleaving]) -> None:
    """So that a failure can be looked at again."""
    assert str(played(FIRST)) == str(played(FIRST))


def nobody_looks_again(patched: pytest.MonkeyPatch) -> None:
    async def alone(*_: object, **__: object) -> frozenset[object]:
        return frozenset()

    patched.setattr(claiming, "leased_beside", alone)


def leases_are_not_mirrored(patched: pytest.MonkeyPatch) -> None:
    timed = writing._timed

    def unmirrored(*given: object) -> object:
        wire = timed(*given)  # type: ignore[arg-type]  # what was given is passed on
        return type(wire)(**{name: getattr(wire, name) for name in wire.__struct_fields__} | {"leased_until": ""})

    patched.setattr(writing, "_timed", unmirrored)


def holders_wait_in_the_future(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(writing, "_waiting_text", lambda task: rounded_up(task.wait_until))


def whatever_was_read_is_written_over(patched: pytest.MonkeyPatch) -> None:
    message = database.Database._message

    def unconditional(self: database.Database, write: database.Write) -> object:
        said = message(self, write)
        said.current_document.ClearField("update_time")
        return said

    patched.setattr(database.Database, "_message", unconditional)


@pytest.mark.parametrize(
    ("broken", "sign"),
    [
        (nobody_looks_again, " began "),
        (leases_are_not_mirrored, "our lease is"),
        (holders_wait_in_the_future, "rounded down"),
        (whatever_was_read_is_written_over, ""),
    ],
)
def test_what_is_left_out_is_found(
    broken: Broken, sign: str, *, played: Callable[..., Interleaving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule that keeps the two sides apart is needed, and the runs are hard enough to tell."""
    broken(monkeypatch)

    assert any(sign in wrong for seed in range(CAUGHT) for wrong in wrongs(played, seed))


def wrongs(played: Callable[..., Interleaving], seed: int) -> list[str]:
    """Return what went wrong in a run; one that finds a document without its fields is broken off."""
    try:
        return played(seed).wrong
    except MalformedError as error:
        return [str(error)]


def test_a_store_that_does_not_know_of_go_is_found(played: Callable[..., Interleaving]) -> None:
    """Without `shared_with_go`."""
    assert any(" began " in wrong for seed in range(CAUGHT) for wrong in played(seed, shared=False).wrong)


@needs_server
@pytest.mark.parametrize("seed", range(FIRST, FIRST + ON_THE_SERVER))
def test_no_order_of_statements_breaks_a_promise_on_firestore(seed: int, on_ground: Callable[[Ground], None]) -> None:
    """The same on the emulator, whose locks make some statements wait for others."""
    project = new_project()

    async def play() -> Interleaving:
        async with looking(project) as client:
            ground = ServerGround(seed, client)
            on_ground(ground)
            run = Interleaving(seed, ground, project=project)
            await run.run()
            return run

    run = asyncio.run(play())

    assert run.wrong == [], str(run)
    assert asyncio.run(documents(project))
