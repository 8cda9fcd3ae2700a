"""The demo on a server that was started around it: its URL stands for its name, and its tables are made first."""

import sys
from collections.abc import Mapping, Sequence

import pytest

from tools import demonstration

POSTGRESQL = "postgresql://somebody@127.0.0.1:1/shop"
MIGRATE = ["oncetask_sql", "migrate", POSTGRESQL]
DEMO = ["examples.index_files", "--store", POSTGRESQL]
CHECK = [*DEMO, "--check"]
Ran = list[tuple[Sequence[str], Mapping[str, str]]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The commands that the demo runs, none of which is run; the fifth one fails."""
    return noted(monkeypatch, failing=5)


def noted(monkeypatch: pytest.MonkeyPatch, *, failing: int) -> Ran:
    """Return the list in which every command is noted from now on; the one of this number fails."""
    commands: Ran = []

    def note(command: Sequence[str], variables: Mapping[str, str] | None = None) -> int:
        commands.append((command[2:], variables or {}))
        return 7 if len(commands) == failing else 0

    for name in ("POSTGRESQL", "MARIADB", "FIRESTORE"):
        monkeypatch.delenv(f"ONCETASK_TEST_{name}", raising=False)
    monkeypatch.setattr(demonstration, "run", note)
    return commands


def demo_on(store: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the demo on a store; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["demonstration", "--store", store])
    return demonstration.main()


def test_a_server_is_called_by_its_name(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run fails while it migrates, and is not begun; its exit code is the failure's."""
    monkeypatch.setenv("ONCETASK_TEST_POSTGRESQL", POSTGRESQL)

    assert [demo_on("postgresql", monkeypatch) for _ in range(2)] == [0, 7]
    assert [command for command, _ in ran] == [CHECK, MIGRATE, DEMO, CHECK, MIGRATE]


def test_nothing_is_written_for_a_tree_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is made where there is nothing to index; the exit code is that of the refusal."""
    ran = noted(monkeypatch, failing=1)
    monkeypatch.setenv("ONCETASK_TEST_POSTGRESQL", POSTGRESQL)

    assert demo_on("postgresql", monkeypatch) == 7
    assert [command for command, _ in ran] == [CHECK]


def test_an_emulator_is_named_to_its_clients(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run has a project of its own; there is nothing to migrate."""
    monkeypatch.setenv("ONCETASK_TEST_FIRESTORE", "127.0.0.1:2")

    assert demo_on("firestore", monkeypatch) == 0
    ((command, variables),) = ran
    assert command[-1].startswith("firestore://demo-")
    assert variables == {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:2"}


def test_a_url_is_taken_as_it_is(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is the name of a server that was not started, which the demo then refuses."""
    assert demo_on("sqlite:///demo.db", monkeypatch) == 0
    assert demo_on("postgresql", monkeypatch) == 0
    assert [command[-1] for command, _ in ran] == ["sqlite:///demo.db", "postgresql"]
