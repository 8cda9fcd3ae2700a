"""How `python -m oncetask worker` begins, and how it ends when its worker fails: with a code that tells why, soon."""

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from oncetask import ConfigurationError, MemoryStore, TaskManager
from oncetask_core.main import main
from tests.asynchronous import SOON

COMMAND = ["worker", "application_that_fails:manager"]
MISTAKE = ConfigurationError(value="x", rule="the test wants it", remedy="None.")
FAULT = ValueError("the hook is broken")


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskManager]:
    """A manager in a module of its own; what the command froze is thawed afterwards."""
    manager, module = TaskManager(MemoryStore()), ModuleType("application_that_fails")
    monkeypatch.setattr(module, "manager", manager, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield manager
    gc.unfreeze()


def raising(error: Exception) -> Callable[[], None]:
    """Return a hook that fails."""

    def fail() -> None:
        raise error

    return fail


def test_a_mistake_that_shows_at_the_start_ends_with_code_2(
    application: TaskManager, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is explained like one on the command line."""
    application.on_start(raising(MISTAKE))

    assert main(COMMAND) == 2
    assert "oncetask: the test wants it" in capsys.readouterr().err


def test_any_other_failure_ends_with_code_1(application: TaskManager, caplog: pytest.LogCaptureFixture) -> None:
    """And is logged with its stack."""
    application.on_start(raising(FAULT))

    assert main(COMMAND) == 1
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [FAULT]


def test_what_is_loaded_is_frozen_before_the_start_and_garbage_is_not(application: TaskManager) -> None:
    """The collector passes over what lives as long as the process.

    Looked for by name: Python 3.12 counts its own immortal objects among the frozen ones once it has collected.
    """

    class Garbage:
        """Refers to itself, so that only the collector ends it."""

        def __init__(self) -> None:
            self.itself = self

    def is_collected() -> bool:
        return any(one is application for one in gc.get_objects())

    seen: list[tuple[bool, object]] = []
    gc.disable()
    garbage = weakref.ref(Garbage())
    application.on_start(lambda: seen.append((is_collected(), garbage())))
    application.on_start(raising(MISTAKE))
    assert is_collected()
    try:
        main(COMMAND)
    finally:
        gc.enable()

    assert seen == [(False, None)]


@pytest.mark.parametrize(("error", "code"), [(MISTAKE, 2), (FAULT, 1)])
def test_a_failure_ends_the_process_although_something_does_not_stop(
    error: Exception, code: int, *, application: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same code; what start hooks left in the executor is not waited for."""
    released = threading.Event()

    class EndedError(BaseException):
        """Stands for the end of the process."""

    def end_process(code: int) -> None:
        released.set()
        raise EndedError(code)

    @application.on_start
    async def block() -> None:
        asyncio.get_running_loop().run_in_executor(None, released.wait, SOON)

    application.on_start(raising(error))
    monkeypatch.setattr("os._exit", end_process)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    monkeypatch.setattr("oncetask_core.main.END_SECONDS", 0.01)

    with pytest.raises(EndedError, match=str(code)):
        main(COMMAND)
