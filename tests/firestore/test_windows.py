"""What was read and not claimed yet: it is claimed without another look, and never relied upon for long."""

from datetime import timedelta
from typing import Any

import pytest

from oncetask_firestore import messages
from oncetask_firestore.candidates import Candidates, Unit
from oncetask_firestore.database import Raw
from oncetask_firestore.memory import MOST_BYTES, MOST_PAGE, NEXT_DUE_SECONDS, WINDOW_SECONDS, Memory
from tests.asynchronous import asynchronous
from tests.firestore.test_claiming import EARLIER, new, project_of, settled, taken
from tests.firestore.world import Faults, freeze, needs_server, new_project, opened


def pages(faults: Faults) -> int:
    """Return how often the first due tasks were read."""
    asked = [request.structured_query for name, request in faults.calls if name == "RunQuery"]
    orders = [[order.field.field_path for order in query.order_by] for query in asked if query.limit.value >= 100]
    return orders.count(["waitUntil"])


@needs_server
@asynchronous
async def test_some_forty_that_were_read_are_not_read_again(faults: Faults) -> None:
    """Though they did not fill a page."""
    async with opened(new_project()) as store:
        freeze(store)
        await store.insert([new(f"{number:02}", wait_until=EARLIER) for number in range(40)])
        ids = [task.id for turn in range(4) for task in await taken(store, f"{turn}", 10)]

        assert ids == [f"{number:02}" for number in range(40)]
        assert pages(faults) == 1


@needs_server
@asynchronous
async def test_keys_that_are_freed_while_a_claim_looks_aside_are_left_to_the_next(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for them was read a moment ago, and is not read again."""
    async with opened(new_project()) as store:
        freeze(store)
        await store.insert([new(f"{number:03}", f"key {number % 10}", wait_until=EARLIER) for number in range(300)])
        held = await taken(store, "first", 10)
        keys = Candidates.keys

        async def free_meanwhile(self: Candidates, free: int) -> list[Unit]:
            units = await keys(self, free)
            await store.apply([settled(task) for task in held])
            return units

        monkeypatch.setattr(Candidates, "keys", free_meanwhile)
        faults.calls.clear()
        second = await taken(store, "second", 10)
        third = await taken(store, "third", 10)

        assert second == []
        assert len(third) == 10
        assert pages(faults) == 0


@needs_server
@asynchronous
async def test_where_others_are_faster_the_rest_of_what_was_read_is_tried(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as fresh as what was lost."""
    async with opened(new_project()) as store, opened(project_of(store)) as other:
        freeze(store)
        await store.insert([new(f"{number:02}", wait_until=EARLIER) for number in range(60)])
        first = Candidates.first

        async def overtaken(self: Candidates, free: int) -> list[Unit]:
            units = await first(self, free)
            if self._database is store._loops.here():
                await taken(other, "other", 7)
            return units

        monkeypatch.setattr(Candidates, "first", overtaken)
        mine = await taken(store, "mine", 5)

        assert [task.id for task in mine] == ["07", "08", "09", "10", "11"]
        assert pages(faults) == 2, "one of each"


@pytest.mark.parametrize("is_full", [True, False])
@needs_server
@asynchronous
async def test_what_is_due_next_is_remembered_for_some_seconds(*, is_full: bool) -> None:
    """Somebody may have created an earlier task since: whoever could take more has to ask again then."""
    async with opened(new_project()) as store:
        freeze(store)
        await store.insert([new(f"{number:03}", wait_until=EARLIER) for number in range(300)])
        await taken(store, "first", 10)
        candidates = Candidates(
            store._loops.here(),
            store._place,
            store._memory,
            fleet=store._fleet,
            kind="kind",
            group=1,
            suspects=False,
        )
        await candidates.remembered(10)
        store._memory._monotonic = lambda: NEXT_DUE_SECONDS - 1
        told = await candidates.next_due(roughly=is_full)

        assert candidates.has_more
        assert store._memory.next_due("kind") == (None, 1.0)
        assert (told is None) == is_full
        assert told is None or timedelta() < told - await store.now() <= timedelta(seconds=1)


def test_a_page_of_large_tasks_is_small() -> None:
    """Its documents are in memory at once."""
    memory = Memory(lambda: 0.0)
    sizes = {10**6: 33, 10**4: 3355, 100: MOST_PAGE, 2 * MOST_BYTES: 1}
    for size, most in sizes.items():
        memory.learn_page("kind", [Raw(f"{number}", {}, 0, None, size) for number in range(50)])
        grown = [memory.page_size("kind", least=250) for _ in range(5)]
        assert max(grown) == grown[-1] == most
    assert memory.page_size("another kind", least=250) == 250


@pytest.mark.parametrize(("lasted", "size"), [(0.12, 2000), (0.13, 1000), (0.49, 1000), (0.5, 500)])
def test_a_page_grows_fourfold_where_it_was_used_up_at_once(lasted: float, size: int) -> None:
    """Twofold where it lasted a little, and not at all where it lasted half of the time that it may be relied upon."""
    now = 0.0
    memory = Memory(lambda: now)
    memory.page_size("kind", least=500)
    memory.learn_page("kind", [])
    now = lasted * WINDOW_SECONDS

    assert memory.page_size("kind", least=250) == size


def test_values_are_read_when_they_are_asked_for() -> None:
    """As they all are; what is not there is missing, and asking for it does not make it up."""
    values: dict[str, Any] = {"text": "a", "number": 1, "map": {"list": [1.5, None]}}
    message = messages.Document()
    messages.set_fields(message, values)
    fields = messages.Fields(message)

    assert fields["map"] == {"list": [1.5, None]}
    assert fields.get("nothing") is None
    with pytest.raises(KeyError):
        fields["nothing"]
    assert dict(fields) == values == messages.fields_of(message)
    assert len(fields) == 3
