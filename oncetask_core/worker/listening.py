"""Waking up when another process has written something: sooner than the next poll, which remains."""

from collections.abc import Callable

from oncetask_core.backoff import Backoff
from oncetask_core.errors import StoreError
from oncetask_core.store import TaskStore, WakeUps
from oncetask_core.worker.settings import Seams


async def listen(store: TaskStore, wake: Callable[[], None], *, seams: Seams) -> None:
    """Call `wake` whenever others may have written something, until cancelled; return if the store cannot tell."""
    if "wake_ups" not in store.capabilities or not isinstance(store, WakeUps):
        return
    backoff = Backoff(seams.chance)
    while True:
        try:
            await store.changed()
        except StoreError:  # whoever claims finds out and says so
            await seams.clock.sleep(backoff.next_delay())
        else:
            backoff.reset()
            wake()
