"""A required store whose tests did not run fails the session."""

import shutil

import pytest
import required_stores

MARKED = """
import pytest
pytestmark = pytest.mark.store("{name}")
def test_it():
    {body}
"""


@pytest.fixture
def bindings(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the plugin, a passing binding of memory and a skipped one of sqlite; both are required."""
    folder = pytester.mkdir("bindings")
    shutil.copy(required_stores.__file__, folder / "requiring.py")
    options = "-p no:cacheprovider --import-mode=importlib"
    pytester.makeini(f"[pytest]\npythonpath = bindings\nmarkers = store: a store\naddopts = {options}")
    pytester.makeconftest('pytest_plugins = ("requiring",)')
    bind(pytester, "memory", body="pass")
    bind(pytester, "sqlite", body='pytest.skip("not started")')
    monkeypatch.setenv("ONCETASK_REQUIRE_STORES", "memory, sqlite")
    return pytester


def bind(project: pytest.Pytester, name: str, *, body: str) -> None:
    """Write the binding of a store."""
    source = MARKED.format(name=name, body=body)
    (project.path / "bindings" / f"test_{name}.py").write_text(source, encoding="utf-8")


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["serial", "parallel"])
def test_a_store_without_a_passed_test_fails_the_session(bindings: pytest.Pytester, arguments: list[str]) -> None:
    """The summary counts the store as an error, and says what to do; a store that passed is not mentioned."""
    result = bindings.runpytest_subprocess(*arguments)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*ONCETASK_REQUIRE_STORES names 'sqlite', but no conformance test*"])
    result.stdout.no_fnmatch_line("*names 'memory'*")


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["serial", "parallel"])
def test_stores_that_passed_satisfy_the_session(bindings: pytest.Pytester, arguments: list[str]) -> None:
    """Nothing is added where every required store passed a test."""
    bind(bindings, "sqlite", body="pass")

    result = bindings.runpytest_subprocess(*arguments)

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)


def test_a_required_store_without_any_binding_fails(bindings: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that nobody bound is missing like one that did not start."""
    monkeypatch.setenv("ONCETASK_REQUIRE_STORES", "memory,oracle")

    result = bindings.runpytest()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*names 'oracle'*"])


@pytest.mark.parametrize("arguments", [["elsewhere"], ["-k", "memory"], ["bindings/test_memory.py"]], ids=" ".join)
def test_a_session_that_chooses_tests_is_not_asked(bindings: pytest.Pytester, arguments: list[str]) -> None:
    """Who runs another folder, or some tests of this one, need not have every store."""
    (bindings.mkdir("elsewhere") / "test_else.py").write_text("def test_else(): pass\n", encoding="utf-8")

    result = bindings.runpytest(*arguments)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*ONCETASK_REQUIRE_STORES*")


@pytest.mark.parametrize("source", ["", "class TestNothing:\n    pass\n"], ids=["module", "class"])
def test_a_binding_without_tests_fails(bindings: pytest.Pytester, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module or class that collects nothing is an error, whatever is required."""
    monkeypatch.delenv("ONCETASK_REQUIRE_STORES")
    (bindings.path / "bindings" / "test_empty.py").write_text(source, encoding="utf-8")

    result = bindings.runpytest()

    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*has no test: is its store still bound*"])
