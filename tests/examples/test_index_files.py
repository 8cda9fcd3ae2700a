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
from examples.index_files.summaries import incomplete
from examples.index_files.tasks import IndexFile, SummarizeFolder
from examples.index_files.verdict import Expected, judge
from oncetask import OnceTask, Outcome, Recurrence
from oncetask_core.task import NewTask, born
from tests.worker.world import World


def ended(name: str, outcome: Outcome | None = Outcome.COMPLETED, *, pid: int = 2, **more: object) -> OnceTask[object]:
    """Return the record of a task whose end the store took from a lease of this process."""
    now = World().clock.now()
    new = NewTask(id=name, kind="index_file", payload="{}", run_uid=f"run of {name}", created_by="c")
    born_then = born(new, env="E", now=now, sequence=1)
    return msgspec.structs.replace(
        born_then, outcome=outcome, done_at=now, settled_by=("an earlier lease", f"lease of {pid}"), **more
    )


def entry(event: str, name: str, *, pid: int = 2) -> Entry:
    """Return an entry of the ledger."""
    lease = f"lease of {pid}"
    return Entry(at=0.0, pid=pid, event=event, task=name, kind="index_file", run=f"run of {name}", lease=lease)


def run(name: str, *, pid: int = 2) -> list[Entry]:
    """Return the entries of a run from its start to its accepted end."""
    return [entry(event, name, pid=pid) for event in ("start", "end", "accepted")]


def generator() -> OnceTask[object]:
    """Return the record of a generator that has ended: no lease and no handler was needed."""
    every = Recurrence(rrule="FREQ=SECONDLY;COUNT=5", dtstart=World().clock.now())
    return msgspec.structs.replace(ended("g"), settled_by=(), recurrence=every)


KILLED = Killed(1, frozenset({"b"}))
EXPECTED = Expected(
    created=["a", "b", "c", "f", "g"],
    earlier=["old"],
    cancelled=["c"],
    flaky=["f"],
    recurring=["g"],
    killed_pids=[1],
    leased_at_kill=["b"],
)
OCCURRENCES = [ended(f"g/{number}", parent_recurrence_id="g") for number in range(5)]
TASKS = [
    ended("a", pid=1), ended("b"), ended("c", Outcome.CANCELLED), ended("f", failures=2), generator(), *OCCURRENCES,
    ended("old", pid=7),
]  # fmt: skip
ENTRIES = [
    *run("a", pid=1),
    entry("start", "b", pid=1), *run("b"),
    *run("c"),
    entry("start", "f", pid=1), entry("start", "f"), *run("f"),
    *(e for one in OCCURRENCES for e in run(one.id)),
]  # fmt: skip


def but(name: str, **changes: object) -> list[OnceTask[object]]:
    """Return the records of the clean run, with one of them changed."""
    return [msgspec.structs.replace(task, **changes) if task.id == name else task for task in TASKS]


def without(event: str, name: str, *, pid: int = 2) -> list[Entry]:
    """Return the entries of the clean run without those of one event of a task in a process."""
    return [e for e in ENTRIES if (e.event, e.task, e.pid) != (event, name, pid)]


def test_a_clean_run_has_no_violation() -> None:
    """The figures of a run in which everything went right."""
    verdict = judge(TASKS, ENTRIES, EXPECTED)

    assert verdict.violations == []
    assert (verdict.tasks, verdict.runs, verdict.completed, verdict.retried) == (11, 12, 10, 2)
    assert (verdict.occurrences, verdict.cleaned_up) == (5, 1)
    assert (verdict.rerun_elsewhere, verdict.unacknowledged, verdict.settled_twice, verdict.lost) == (1, 0, 0, 0)


def test_a_settle_that_the_killed_process_did_not_live_to_note_is_no_violation() -> None:
    """It is counted. A worker may die between the store's answer and its own note."""
    verdict = judge(TASKS, without("accepted", "a", pid=1), EXPECTED)

    assert verdict.unacknowledged == 1
    assert verdict.violations == []


def test_a_settle_that_was_on_its_way_at_the_kill_is_no_violation() -> None:
    """The store still showed the lease when the process was frozen, and took the settle after that."""
    tasks = but("b", settled_by=("lease of 1",))
    entries = [*(e for e in ENTRIES if e.task != "b"), entry("start", "b", pid=1), entry("end", "b", pid=1)]

    verdict = judge(tasks, entries, EXPECTED)

    assert (verdict.rerun_elsewhere, verdict.unacknowledged) == (0, 1)
    assert verdict.violations == []


def test_a_run_that_went_on_after_its_lease_was_lost_is_no_violation() -> None:
    """What a paused process does after another one has settled the task counts for nothing."""
    late = [entry("start", "b", pid=3), entry("end", "b", pid=3)]

    assert judge(TASKS, [*ENTRIES, *late], EXPECTED).violations == []


def test_what_an_interrupted_run_left_may_end_now() -> None:
    """It was cancelled then, and its clean-up is over only now."""
    tasks = [*TASKS, ended("left", Outcome.CANCELLED)]

    assert judge(tasks, [*ENTRIES, *run("left")], EXPECTED).violations == []


@pytest.mark.parametrize(
    ("tasks", "entries", "says"),
    [
        (TASKS, [*ENTRIES, entry("accepted", "a", pid=3)], "settled twice: a"),
        (TASKS[1:], ENTRIES, "lost: a"),
        (but("a", outcome=None), ENTRIES, "lost: a"),
        (but("a", outcome=Outcome.FAILED), ENTRIES, "failed: a"),
        (but("old", outcome=Outcome.FAILED), ENTRIES, "failed: old"),
        (TASKS, without("end", "b"), "completed though its handler never ended: b"),
        (but("b", settled_by=()), ENTRIES, "completed though its handler never ended: b"),
        (TASKS, without("accepted", "b"), "ended though no settle was accepted: b"),
        (TASKS, without("accepted", "c"), "ended though no settle was accepted: c"),
        (TASKS, without("accepted", "g/3"), "ended though no settle was accepted: g/3"),
        (
            but("b", settled_by=("lease of 1",)),
            [*(e for e in ENTRIES if e.task != "b"), *run("b", pid=1)],
            "held at the kill, yet its settle was accepted from the killed process: b",
        ),
        (but("c", outcome=Outcome.COMPLETED), ENTRIES, "not cancelled: c"),
        (but("b", outcome=Outcome.CANCELLED), ENTRIES, "cancelled though nobody asked for it: b"),
        (but("c", settled_by=()), [e for e in ENTRIES if e.task != "c"], "cancelled without its clean-up: c"),
        (but("f", failures=1), ENTRIES, "did not fail 2 times before it completed: f"),
        (TASKS, without("start", "f", pid=1), "did not fail 2 times before it completed: f"),
        ([task for task in TASKS if task.id != "g/4"], ENTRIES, "did not make its 5 occurrences: g"),
        (but("g/4", outcome=None), ENTRIES, "did not make its 5 occurrences: g"),
    ],
)
def test_every_violation_is_seen(tasks: list[OnceTask[object]], entries: list[Entry], says: str) -> None:
    """Doubles, losses, unearned ends, and whatever did not happen that was to be shown are named, each on its own."""
    assert judge(tasks, entries, EXPECTED).violations == [says]


def test_only_the_killed_process_is_excused() -> None:
    """Without any accepted settle in the ledger, every end is a violation that no killed process explains."""
    entries = [e for e in ENTRIES if e.event != "accepted"]

    violations = judge(TASKS, entries, EXPECTED).violations

    settled = ["b", "c", "f", *(one.id for one in OCCURRENCES)]
    assert violations == [f"ended though no settle was accepted: {name}" for name in settled]


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, True), ("", True), ('{"one.py": {}}', True), ('{"one.py": {}, "two.py": {}, "older.py": {}}', False)],
)
def test_a_folder_without_its_summary_is_seen(tmp_path: Path, content: str | None, *, found: bool) -> None:
    """So is a summary that lacks a file; those of earlier runs may be gone."""
    target = tmp_path / "s.json"
    if content is not None:
        target.write_text(content, encoding="utf-8")
    summary = SummarizeFolder("folder", "d", str(target))
    files = [IndexFile("/", name, "folder", "d") for name in ("one.py", "two.py")]
    tasks = [
        ended("s", kind=SummarizeFolder.kind, payload=msgspec.json.encode(summary).decode()),
        *(ended(f.path, payload=msgspec.json.encode(f).decode(), resource_key="folder") for f in files),
    ]

    assert incomplete(tasks, ["s"]) == [str(target)] * found
    assert incomplete(tasks, []) == []


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


def test_the_demo_runs_and_its_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a small tree the demo ends with 0; with a doubled entry in its ledger and a failed task it does not.

    Of what had ended before, a second run asks for no other entry: its ledger may be a new one.
    """
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
        ledger.execute("DELETE FROM events WHERE event = 'end'")
    with sqlite3.connect(place / "index.db") as store:
        one = "SELECT min(id) FROM oncetask_task WHERE kind = 'summarize_folder'"
        store.execute(f"UPDATE oncetask_task SET outcome = 'failed' WHERE id = ({one})")
    assert main([str(tree), "--folder", str(place)]) == 1
    said = capsys.readouterr().err
    assert "VIOLATION: settled twice: " in said
    assert "VIOLATION: failed: " in said
    assert said.count("VIOLATION: ") == 2
    assert len(Ledger(place / "ledger.db").entries()) > 180
