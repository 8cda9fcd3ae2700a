"""Lint for every text file of the project, whatever its language.

Each is UTF-8, ends with one newline, has no trailing space, and names no folder of one machine. Pages have no
pictographs, and their links lead to files that are there.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.project import ROOT

PAGES = ".md"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s#]+)(?:#[^)]*)?\)")
MACHINE = re.compile(r"(?<![\w.])/(home|Users|root|work|opt|private|tmp)/\w")
PICTOGRAPH = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]")
EXEMPT = ("tools/text.py", "tests/tools/test_lint.py")


def faults(name: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the text of a file, each with its line."""
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield f"{name}: does not end with exactly one newline"
    for number, line in enumerate(text.splitlines(), start=1):
        if line != line.rstrip():
            yield f"{name}:{number}: trailing space"
        if found := MACHINE.search(line):
            yield f"{name}:{number}: names a folder of one machine: {found[0]}"
        if name.endswith(PAGES) and (found := PICTOGRAPH.search(line)):
            yield f"{name}:{number}: has a pictograph: {found[0]!r}"


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    for match in LINK.finditer(text):
        target = match["target"]
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            yield target


def tracked(root: Path) -> list[Path]:
    """Return every file that git tracks or would track, and that is still there."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True)
    return sorted({root / name for name in done.stdout.split("\0") if name and (root / name).is_file()})


def all_faults(root: Path) -> Iterator[str]:
    """Yield every fault of every text file."""
    for path in tracked(root):
        name = path.relative_to(root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            yield f"{name}: is not UTF-8"
            continue
        if name not in EXEMPT:
            yield from faults(name, text)
        if path.suffix == PAGES:
            yield from (f"{name}: a link leads nowhere: {target}" for target in dead_links(path, text))


def main() -> int:
    """Print every fault; return 1 if there is one."""
    found = list(all_faults(ROOT))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
