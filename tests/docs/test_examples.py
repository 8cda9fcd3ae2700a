"""Every Python example of the README and the docs runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def test_the_pages_have_examples() -> None:
    """The pattern finds what it is meant to find."""
    assert len(examples(ROOT / "README.md")) == 1
    assert sum(len(examples(page)) for page in PAGES) >= 10


RUN_ELSEWHERE = ("transactions.md", "writing-a-store.md")
"""One needs a server, the other is a test module of its own."""
RUNNABLE = [page for page in PAGES if examples(page) and page.name not in RUN_ELSEWHERE]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, as one program, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    program = "\n\n".join(examples(page))
    exec(compile(program, str(page), "exec"), {"__name__": "__example__"})


LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page points to a file that exists."""
    dead = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]

    assert dead == []


def test_the_working_folder_is_left_alone() -> None:
    """No example leaves a database in the checkout."""
    assert list(ROOT.glob("*.db")) == []
