"""Which interpreters are used, and what the lowest dependencies are."""

import sys
from pathlib import Path

import pytest

from tools.commands import ToolError
from tools.project import LOCK, pyproject
from tools.versions import SUPPORTED, candidates, environment_of, lowered, outcome_of, starts

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def script(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_interpreters_are_looked_for_on_the_path_and_among_pyenvs(tmp_path: Path) -> None:
    """The PATH comes first, then the newest of pyenv's."""
    for version in ("3.12.1", "3.12.7", "3.13.0"):
        script(tmp_path / ".pyenv/versions" / version / "bin" / f"python{version[:4]}", "")

    found = candidates("3.12", path="/one:/two", home=tmp_path)

    assert [path.relative_to(tmp_path).parts[2] if path.is_relative_to(tmp_path) else str(path) for path in found] == [
        "/one/python3.12",
        "/two/python3.12",
        "3.12.7",
        "3.12.1",
    ]


def test_an_interpreter_that_starts_is_used() -> None:
    """This one does, and is of its own version only."""
    assert starts(Path(sys.executable), HERE)
    assert not starts(Path(sys.executable), "3.1")


@pytest.mark.parametrize("text", ["echo command not found >&2; exit 127", "echo 3.12; exit 1", "echo 2.7"])
def test_a_shim_that_points_nowhere_is_not_used(text: str, tmp_path: Path) -> None:
    """What does not answer with the version, or fails, is no interpreter."""
    assert not starts(script(tmp_path / "python3.12", text), "3.12")


def test_a_file_that_is_not_there_is_not_used(tmp_path: Path) -> None:
    """Most folders of the PATH have no such interpreter."""
    assert not starts(tmp_path / "python3.12", "3.12")


@pytest.mark.parametrize(("name", "version"), [("3.12", "3.12"), ("lowest", "3.11")])
def test_a_missing_interpreter_is_an_explained_skip(name: str, version: str) -> None:
    """It is no failure, and the line says what is missing."""
    outcome = outcome_of(name, {})

    assert not outcome.failed
    assert outcome.text.startswith(f"skipped: no Python {version} that starts")


def test_lowest_versions_replace_the_pins() -> None:
    """Names are compared as pip does; other pins stay."""
    pins = "A-b==3.0\nother==1.0\nSQLAlchemy==2.1\n"

    assert lowered(pins, ["a_b>=1.5.post0", "sqlalchemy>=2.0"]) == "other==1.0\na-b==1.5.post0\nsqlalchemy==2.0\n"


def test_the_package_of_an_extra_is_as_old_as_its_own() -> None:
    """The two are released together, and one asks for exactly the other."""
    assert lowered("psycopg==3.3\npsycopg-binary==3.3\n", ["psycopg[binary]>=3.2.3"]).splitlines() == [
        "psycopg==3.2.3",
        "psycopg-binary==3.2.3",
    ]


def test_a_requirement_without_a_lowest_version_is_refused() -> None:
    """Each dependency says what it needs at least."""
    with pytest.raises(ToolError, match=r"'msgspec' in pyproject\.toml has no lowest version"):
        lowered("", ["msgspec"])


def test_every_dependency_of_the_project_is_lowered() -> None:
    """The environment of the lowest versions pins each dependency at the version that the metadata names."""
    pins = environment_of("lowest", Path(sys.executable)).pins.splitlines()

    extras = pyproject()["project"]["optional-dependencies"]
    stores = [*extras["postgres"], *extras["mysql"], *extras["firestore"]]
    for requirement in [*pyproject()["project"]["dependencies"], *stores]:
        wanted, _, version = requirement.partition(">=")
        name = wanted.partition("[")[0]
        assert [pin for pin in pins if pin.lower().startswith(f"{name}==")] == [f"{name}=={version}"]


def test_the_lock_pins_every_dependency() -> None:
    """A fresh checkout resolves the same versions tomorrow."""
    locked = {
        line.partition("==")[0].lower().replace("_", "-") for line in LOCK.read_text(encoding="utf-8").splitlines()
    }
    extras = pyproject()["project"]["optional-dependencies"]
    asked = [*pyproject()["project"]["dependencies"], *extras["conformance"], *extras["test"], *extras["dev"]]

    assert {name for name in (text.partition(">=")[0] for text in asked) if "[" not in name} <= locked


def test_the_supported_versions_are_those_of_the_metadata() -> None:
    """The classifiers and the versions that are tested say the same."""
    prefix = "Programming Language :: Python :: 3."
    classifiers = [text for text in pyproject()["project"]["classifiers"] if text.startswith(prefix)]

    assert [f"3.{text.removeprefix(prefix)}" for text in classifiers] == list(SUPPORTED)
