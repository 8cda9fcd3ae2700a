"""The long test resumes: what passed on a tree is not run again on it."""

import json
import subprocess
from pathlib import Path

import pytest

from tools.commands import Finished, ToolError
from tools.project import ROOT
from tools.stages import FRESH, Records, Stage, play, stages, tree_hash

PLAN = [Stage("tests/one", []), Stage("tests/two", [])]


class Runner:
    """Answers for each stage, and remembers which ones it ran."""

    def __init__(self, **codes: int) -> None:
        self.ran: list[str] = []
        self._codes = codes

    def __call__(self, stage: Stage) -> Finished:
        self.ran.append(stage.name)
        return Finished(self._codes.get(stage.name.rpartition("/")[2], 0), "1 passed in 0.01s")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a tracked, a new and an ignored file."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in ("tracked", "new", "ignored"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / ".gitignore").write_text("ignored\n", encoding="utf-8")
    subprocess.run(["git", "-C", tmp_path, "add", "tracked"], check=True)
    return tmp_path


def test_stages_that_passed_are_not_run_again(tmp_path: Path) -> None:
    """A second run shows the recorded result, with its time and summary, and says that it is from earlier."""
    first = play(PLAN, Records(tmp_path), Runner())
    again = Runner()

    second = play(PLAN, Records(tmp_path), again)

    assert again.ran == []
    assert second == [result._replace(earlier=True) for result in first]
    assert "passed earlier" in str(second[0])
    assert "1 passed in 0.01s" in str(second[0])


def test_a_failed_stage_is_run_again_and_holds_up_no_other(tmp_path: Path) -> None:
    """The stages after a failure run; only the failed one is repeated."""
    results = play(PLAN, Records(tmp_path), Runner(one=1))
    again = Runner()
    play(PLAN, Records(tmp_path), again)

    assert [result.code for result in results] == [1, 0]
    assert again.ran == ["tests/one"]


def test_a_record_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    """Half a record, as a crash leaves it, is no record."""
    play(PLAN, Records(tmp_path), Runner())
    record = tmp_path / "tests.one.json"
    record.write_text(record.read_text(encoding="utf-8")[:10], encoding="utf-8")
    again = Runner()
    play(PLAN, Records(tmp_path), again)

    assert again.ran == ["tests/one"]


@pytest.mark.parametrize("name", ["tracked", "new"])
def test_every_change_of_the_tree_changes_its_hash(tree: Path, name: str) -> None:
    """Uncommitted changes count, in tracked and in new files, and so do modes and removals."""
    seen = {tree_hash(tree)}

    (tree / name).write_text("changed", encoding="utf-8")
    seen.add(tree_hash(tree))
    (tree / name).chmod(0o755)
    seen.add(tree_hash(tree))
    (tree / name).unlink()
    seen.add(tree_hash(tree))

    assert len(seen) == 4


def test_ignored_files_and_commits_do_not_change_the_hash(tree: Path) -> None:
    """The hash is that of the content alone: committing it, or building beside it, changes nothing."""
    before = tree_hash(tree)

    (tree / "ignored").write_text("changed", encoding="utf-8")
    subprocess.run(["git", "-C", tree, "add", "."], check=True)

    assert tree_hash(tree) == before


def test_a_folder_without_git_has_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is git's own."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(ToolError, match="not a git repository"):
        tree_hash(tmp_path)


def test_every_folder_of_tests_is_a_stage() -> None:
    """No test of the project is left out of the long test."""
    names = {stage.name for stage in stages(ROOT, "python")}
    files = [
        path.relative_to(ROOT)
        for folder in ("tests", "conformance_tests")
        for path in (ROOT / folder).rglob("test_*.py")
    ]

    assert {
        path for path in files if not names & {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
    } == set()


def test_every_stage_has_an_emulator_of_its_own() -> None:
    """The one of the stage before has kept all that it deleted."""
    plan = stages(ROOT, "python")

    assert {tuple(stage.command[1 : 1 + len(FRESH)]) for stage in plan} == {FRESH}
    assert all(stage.command[1 + len(FRESH)] == "python" for stage in plan)


def test_records_are_plain_json(tmp_path: Path) -> None:
    """A person can read what passed."""
    play(PLAN[:1], Records(tmp_path), Runner())

    record = json.loads((tmp_path / "tests.one.json").read_text(encoding="utf-8"))
    assert record["name"] == "tests/one"
    assert record["summary"] == "1 passed in 0.01s"
