"""Which manager `python -m oncetask worker module:attribute` means; the application's own mistakes stay its own."""

import sys
from pathlib import Path

import pytest

from oncetask import ConfigurationError, TaskManager
from oncetask_core.main import find_manager

MODULES = {
    "shop_found.py": "from oncetask import TaskManager\nmanager = TaskManager('memory://')",
    "shop_needs_more.py": "import shop_",
    "shop_needs_a_part.py": "import shop_needs_a_part.more",
    "shop_misspells.py": "import os\nos.no_such_attribute",
    "shop_raises.py": "raise LookupError('of its own')",
    "shop_package/__init__.py": "",
    "shop_package/needs_more.py": "import shop_package.need",
}


@pytest.fixture(autouse=True)
def _application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of modules as the working folder; what is imported from it is forgotten afterwards."""
    (tmp_path / "shop_package").mkdir()
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def test_a_manager_is_found_in_the_working_folder() -> None:
    """By the name of its module and its own."""
    assert type(find_manager("shop_found:manager")) is TaskManager


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_shop:manager", "got 'no_shop'. Check the name and the folder"),
        ("no_shop.tasks:manager", "got 'no_shop.tasks'. Check the name and the folder"),
        ("shop_package.none:manager", "got 'shop_package.none'. Check the name and the folder"),
        ("shop_found.tasks:manager", "got 'shop_found.tasks'. Check the name and the folder"),
        ("shop_found:nobody", "the module shop_found has this attribute"),
        (".shop_found:manager", "named as module:attribute"),
        ("shop_found", "named as module:attribute"),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(reference: str, says: str) -> None:
    """With what was looked for."""
    with pytest.raises(ConfigurationError) as caught:
        find_manager(reference)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("module", "error", "says"),
    [
        ("shop_needs_more", ModuleNotFoundError, "'shop_'"),
        ("shop_needs_a_part", ModuleNotFoundError, "shop_needs_a_part.more"),
        ("shop_package.needs_more", ModuleNotFoundError, "'shop_package.need'"),
        ("shop_misspells", AttributeError, "no_such_attribute"),
        ("shop_raises", LookupError, "of its own"),
    ],
)
def test_errors_of_the_application_are_passed_on(module: str, error: type[Exception], says: str) -> None:
    """Its module exists; what it imports or asks for is another matter, however alike the names are."""
    with pytest.raises(error, match=says) as caught:
        find_manager(f"{module}:manager")

    assert type(caught.value) is error
