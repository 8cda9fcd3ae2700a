"""The store that the documentation writes passes the conformance suite."""

import subprocess
import sys
from pathlib import Path

from tests.docs.test_examples import ROOT, examples


def test_the_store_of_the_page_passes_the_suite(tmp_path: Path) -> None:
    """The blocks of the page, put into one module, are a binding that collects hundreds of passing tests."""
    module = tmp_path / "test_shelf.py"
    blocks = examples(ROOT / "docs" / "writing-a-store.md")
    joined = "\n\n".join(blocks).replace("\n\n    def _seat", "\n    def _seat")
    module.write_text(joined, encoding="utf-8")

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-3000:]
    assert int(run.stdout.strip().splitlines()[-1].split(" passed")[0].split()[-1]) >= 250
