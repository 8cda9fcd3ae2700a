"""The page about transactions does what it says."""

import pytest

from tests.docs.test_examples import ROOT, examples
from tests.servers.world import Place


def test_the_examples_of_the_page_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks run one after the other, as one program, and print what they say."""
    page = ROOT / "docs" / "transactions.md"
    place.run(
        "CREATE TABLE orders (number int, amount int)",
        "CREATE TABLE accounts (name varchar(20), balance int)",
        "INSERT INTO accounts VALUES ('customer', 100), ('shop', 0)",
    )
    monkeypatch.setenv("SHOP_TASKS", place.url)
    monkeypatch.setenv("SHOP_DATABASE", place.alchemy(awaited=True))
    program = "\n\n".join(examples(page))
    exec(compile(program, str(page), "exec"), {"__name__": "__example__"})

    assert capsys.readouterr().out == "{'customer': 70, 'shop': 30}\n"
