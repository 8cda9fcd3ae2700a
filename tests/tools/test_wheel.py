"""What users get: the wheel holds every package, typed, and the conformance suite under its own name."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tools.project import ROOT


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths in the wheel that the build backend makes of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def packages() -> dict[str, Path]:
    """Return the packages of the checkout by the name under which they are imported."""
    folders = [*ROOT.glob("oncetask*"), ROOT / "conformance_tests" / "oncetask_conformance"]
    return {folder.name: folder for folder in folders if any(folder.glob("*.py"))}


def test_every_package_is_in_the_wheel_and_nothing_else(names: set[str]) -> None:
    """Tests, tools and examples stay at home."""
    found = {name.split("/", maxsplit=1)[0] for name in names if ".dist-info/" not in name}

    assert found == set(packages())


@pytest.mark.parametrize("package", sorted(packages()))
def test_packages_are_complete_and_typed(package: str, names: set[str]) -> None:
    """Every module is there, and `py.typed` says that its types count."""
    folder = packages()[package]
    modules = {f"{package}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py")}

    assert modules | {f"{package}/py.typed"} <= names


def test_the_licence_and_the_entry_points_are_in_the_wheel(names: set[str]) -> None:
    """The stores are found by their URL schemes once the wheel is installed."""
    metadata = {name.split("/", maxsplit=1)[1] for name in names if ".dist-info/" in name}

    assert {"licenses/LICENSE", "entry_points.txt", "METADATA"} <= metadata
