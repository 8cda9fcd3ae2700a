"""The project's own lint rules for text and sizes, and the floors of coverage."""

from pathlib import Path

import pytest

from tools.coverage_floors import Measured, below_floor, floors_on_servers
from tools.sizes import oversized
from tools.text import dead_links, faults

LIMITS = {"file": 10, "test_file": 20, "function": 4}


def sizes(folder: Path, name: str, source: str) -> list[str]:
    """Return what is too large in a project of one file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return list(oversized(folder, LIMITS))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("no newline", "does not end with exactly one newline"),
        ("two\n\n", "does not end with exactly one newline"),
        ("one \n", ":1: trailing space"),
        ("fine\na\t\n", ":2: trailing space"),
        ("in /home/ada/tasks.db\n", ":1: names a folder of one machine: /home/a"),
        ("at `/tmp/x`\n", ":1: names a folder of one machine: /tmp/x"),
        ("done \N{WHITE HEAVY CHECK MARK}\n", ":1: has a pictograph: '\u2705'"),
    ],
)
def test_faults_of_text_are_named_with_their_line(text: str, fault: str) -> None:
    """Each fault says where it is."""
    assert [found.removeprefix("page.md") for found in faults("page.md", text)] == [
        fault if fault[0] == ":" else f": {fault}"
    ]


@pytest.mark.parametrize(
    "text", ["", "plain\n", "a url: https://x.example/home/ada\n", "sqlite:///tasks.db and */tmp/*.db\n"]
)
def test_other_text_passes(text: str) -> None:
    """Addresses and patterns are no folders of a machine."""
    assert list(faults("page.md", text)) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    """Relative targets have to exist, with or without an anchor; addresses are not followed."""
    (tmp_path / "here.md").touch()
    text = "[a](here.md) [b](here.md#part) [c](gone.md#part) [d](https://x.example/gone.md) [e](#part)"

    assert list(dead_links(tmp_path / "page.md", text)) == ["gone.md"]


def test_long_files_and_functions_are_found(tmp_path: Path) -> None:
    """The message has the place, the size and the limit."""
    function = "def f():\n" + "    x = 1\n" * 4

    assert sizes(tmp_path, "core/a.py", function) == ["core/a.py:1: f has 5 lines; the limit is 4"]
    assert sizes(tmp_path, "core/a.py", "\n" * 11) == ["core/a.py: 11 lines; the limit is 10"]


def test_tests_may_be_longer_than_code(tmp_path: Path) -> None:
    """They have a limit of their own."""
    assert sizes(tmp_path, "tests/test_a.py", "\n" * 20) == []
    assert sizes(tmp_path, "tests/test_a.py", "\n" * 21) == ["tests/test_a.py: 21 lines; the limit is 20"]


def test_drawers_are_refused(tmp_path: Path) -> None:
    """A module called `utils` says nothing about its content."""
    assert sizes(tmp_path, "core/utils.py", "") == ["core/utils.py: a module is named after what it is about"]


def test_a_floor_that_is_not_reached_is_reported() -> None:
    """A file has a floor of its own, a folder that of its files together; what was not measured is reported."""
    measured = {"core/a.py": Measured(9, 10, "7"), "core/b/c.py": Measured(10, 10), "core/b/d.py": Measured(0, 10, "1")}
    floors = {"core/a.py": 100.0, "core/b": 50.0, "core/b/d.py": 1.0, "core/gone.py": 1.0}

    assert list(below_floor(measured, floors)) == [
        "core/a.py: 90.0 % covered; the floor is 100 %; missing: core/a.py (7)",
        "core/b/d.py: 0.0 % covered; the floor is 1 %; missing: core/b/d.py (1)",
        "core/gone.py: no file was measured",
    ]


def test_the_floor_of_a_store_without_its_server_is_not_asked_and_said() -> None:
    """A machine without a server covers nothing of its store."""
    table = {"here": {"floor": 90, "server": "HERE"}, "gone": {"floor": 90, "server": "GONE"}}

    asked, left = floors_on_servers(table, {"HERE": "127.0.0.1:1", "GONE": ""})

    assert asked == {"here": 90}
    assert left == ["gone: not asked, GONE names no server"]
