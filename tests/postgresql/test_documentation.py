"""The page about transactions does what it says."""

import pytest

from tests.docs.test_examples import ROOT, examples
from tests.postgresql.world import URL, Schemas, connected, needs_server, schema_of

pytestmark = needs_server


def test_the_examples_of_the_page_run(
    schemas: Schemas, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks run one after the other, as one program, and print what they say."""
    page = ROOT / "docs" / "transactions.md"
    url = schemas.new()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute("CREATE TABLE orders (number int, amount int)")
        connection.execute("CREATE TABLE accounts (name text, balance int)")
        connection.execute("INSERT INTO accounts VALUES ('customer', 100), ('shop', 0)")
    monkeypatch.setenv("SHOP_TASKS", url)
    database = URL.replace("postgresql://", "postgresql+psycopg://", 1)
    monkeypatch.setenv("SHOP_DATABASE", f"{database}?options=-csearch_path%3D{schema_of(url)}")
    program = "\n\n".join(examples(page))
    exec(compile(program, str(page), "exec"), {"__name__": "__example__"})

    assert capsys.readouterr().out == "{'customer': 70, 'shop': 30}\n"
