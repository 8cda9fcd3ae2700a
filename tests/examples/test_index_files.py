"""The demo's verdict sees what it claims to see, and the demo itself runs on a small tree."""

import ast
import sqlite3
from pathlib import Path

import msgspec
import pytest

from examples.index_files import scan
from examples.index_files.__main__ import main, more_violations
from examples.index_files.experiment import Killed, Plan
from examples.index_files.ledger import Entry, Ledger
from examples.index_files.progress import Progress
from examples.index_files.verdict import Expected, judge
from oncetask import OnceTask, Outcome
from oncetask_core.task import NewTask, born
from tests.worker.world import World


def ended(name: str, outcome: Outcome = Outcome.COMPLETED) -> OnceTask[object]:
    """Return the record of a task that ended."""
    now = World().clock.now()
    new = NewTask(id=name, kind="index_file", payload="{}", run_uid=f"run of {name}", created_by="c")
    return msgspec.structs.replace(born(new, env="E", now=now, sequence=1), outcome=outcome, done_at=now)


def entry(event: str, name: str, *, pid: int = 1) -> Entry:
    """Return an entry of the ledger."""
    return Entry(at=0.0, pid=pid, event=event, task=name, kind="index_file", run=f"run of {name}", lease="l")


KILLED = Killed(1, frozenset({"b"}))
EXPECTED = Expected(created=["a", "b"], cancelled=["c"], killed_pid=1, leased_at_kill=["b"])
TASKS = [ended("a"), ended("b"), ended("c", Outcome.CANCELLED)]
ENTRIES = [
    entry("start", "a"), entry("end", "a"), entry("accepted", "a"),
    entry("start", "b"), entry("start", "b", pid=2), entry("end", "b", pid=2), entry("accepted", "b", pid=2),
    entry("start", "c", pid=2), entry("end", "c", pid=2), entry("accepted", "c", pid=2),
]  # fmt: skip


def test_a_clean_run_has_no_violation() -> None:
    """The figures of a run in which everything went right."""
    verdict = judge(TASKS, ENTRIES, EXPECTED)

    assert verdict.violations == []
    assert (verdict.tasks, verdict.runs, verdict.completed) == (3, 4, 2)
    assert (verdict.rerun_elsewhere, verdict.unacknowledged, verdict.settled_twice, verdict.lost) == (1, 0, 0, 0)


def test_an_end_without_acknowledgement_is_counted_and_is_no_violation() -> None:
    """A worker may die between the store's answer and its own note."""
    entries = [e for e in ENTRIES if (e.event, e.task) != ("accepted", "a")]

    verdict = judge(TASKS, entries, EXPECTED)

    assert verdict.unacknowledged == 1
    assert verdict.violations == []


@pytest.mark.parametrize(
    ("tasks", "entries", "says"),
    [
        (TASKS, [*ENTRIES, entry("accepted", "a", pid=2)], "settled twice: a"),
        (TASKS[1:], ENTRIES, "lost: a"),
        ([msgspec.structs.replace(TASKS[0], outcome=None), *TASKS[1:]], ENTRIES, "lost: a"),
        (TASKS, [e for e in ENTRIES if e.event != "end"], "completed though its handler never ended: a"),
        ([*TASKS[:2], ended("c")], ENTRIES, "not cancelled: c"),
        ([ended("a", Outcome.FAILED), *TASKS[1:]], ENTRIES, "failed: a"),
    ],
)
def test_every_violation_is_seen(tasks: list[OnceTask[object]], entries: list[Entry], says: str) -> None:
    """Doubles, losses, unearned completions and missing cancellations are named."""
    assert says in judge(tasks, entries, EXPECTED).violations


@pytest.mark.parametrize(
    ("plan", "again", "killed", "in_time", "says"),
    [
        (Plan(new_files=3), Plan(), KILLED, True, []),
        (Plan(), Plan(), None, True, []),
        (Plan(new_files=3), Plan(new_files=1), KILLED, True, ["the second run created 1 file and 0 folder tasks"]),
        (Plan(), Plan(new_folders=2), None, True, ["the second run created 0 file and 2 folder tasks"]),
        (Plan(new_files=3), Plan(), None, True, ["no worker could be killed while it held tasks"]),
        (Plan(), Plan(), None, False, ["not every task ended in time"]),
    ],
)
def test_what_store_and_ledger_cannot_tell_is_seen(
    plan: Plan, again: Plan, *, killed: Killed | None, in_time: bool, says: list[str]
) -> None:
    """A second run that creates tasks, nobody killed, and work that is left are violations, too."""
    found = more_violations(plan, again, killed, in_time=in_time)

    assert [violation.partition(": ")[0] for violation in found] == says


@pytest.mark.parametrize(
    ("name", "rule"), [("missing", "a directory that"), ("file.py", "a directory that"), ("empty", "has a file")]
)
def test_a_tree_without_any_file_is_refused(
    name: str, rule: str, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names it, the rule and the way out; nothing is written."""
    (tmp_path / "empty" / "__pycache__").mkdir(parents=True)
    (tmp_path / "empty" / "__pycache__" / "skipped.py").touch()
    (tmp_path / "file.py").touch()
    place = tmp_path / "place"

    assert main([str(tmp_path / name), "--folder", str(place), "--store", f"sqlite:///{place}.db"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("index_files: ")
    assert f"{rule} " in said
    assert str(tmp_path / name)[:100] in said
    assert "Name " in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file.py"]


def test_a_tree_can_be_checked_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is run and nothing is written."""
    (tmp_path / "file.py").touch()

    assert main([str(tmp_path), "--folder", str(tmp_path / "place"), "--check"]) == 0
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "place").exists()


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is shown every quarter of a second, a line every two seconds is printed."""
    time = iter([0.0, 0.25, 1.75, 2.0, 2.0, 2.25, 4.0, 4.0])
    progress = Progress(lambda: next(time))

    for number in range(5):
        progress(f"line {number}")

    assert capsys.readouterr().out == "line 2\nline 4\n"


def test_the_example_imports_what_users_import() -> None:
    """Of the library, that is the one module `oncetask`."""
    folder = Path(scan.__file__).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}

    assert {name for name in imported if name.startswith("oncetask")} == {"oncetask"}


def test_the_demo_runs_and_its_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a small tree the demo ends with 0; with a doubled entry in its ledger and a failed task it does not."""
    tree = tmp_path / "tree"
    for number in range(180):
        folder = tree / f"folder{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}.py").write_text("def f():\n    return 1\n" * 300, encoding="utf-8")
    place = tmp_path / "place"

    assert main([str(tree), "--folder", str(place)]) == 0
    assert "settled twice (must be 0)                         0" in capsys.readouterr().out

    with sqlite3.connect(place / "ledger.db") as ledger:
        ledger.execute("INSERT INTO events SELECT * FROM events WHERE event = 'accepted' LIMIT 1")
    with sqlite3.connect(place / "index.db") as store:
        one = "SELECT min(id) FROM oncetask_task WHERE kind = 'summarize_folder'"
        store.execute(f"UPDATE oncetask_task SET outcome = 'failed' WHERE id = ({one})")
    assert main([str(tree), "--folder", str(place)]) == 1
    said = capsys.readouterr().err
    assert "VIOLATION: settled twice: " in said
    assert "VIOLATION: failed: " in said
    assert len(Ledger(place / "ledger.db").entries()) > 180
