"""The transition table of the documentation is what the core does."""

import pytest

from oncetask_core.status import Outcome
from oncetask_core.transition import Event
from tools import transition_table
from tools.transition_table import BEGIN, DOCUMENT, END, block, rows, updated


def test_document_holds_the_current_table() -> None:
    """Whoever changes a decision runs `python -m tools.transition_table --write`."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert updated(text) == text


@pytest.mark.parametrize("text", [BEGIN, END, ""])
def test_document_without_its_marks_is_refused(text: str) -> None:
    """A block is not put just anywhere."""
    with pytest.raises(ValueError, match="a mark is missing"):
        updated(text)


def test_old_block_is_replaced_and_the_rest_kept() -> None:
    """Only what stands between the marks is ours."""
    assert updated(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{BEGIN}\n\n{block()}\n\n{END}\nafter\n"


def test_table_knows_every_event_and_every_outcome() -> None:
    """Nothing that the core can do is missing."""
    table = rows()
    events = {row.event.partition(",")[0] for row in table}

    assert {str(event) for event in Event} | {"claim", "renew", "time passes"} <= events
    assert {str(outcome) for outcome in Outcome} <= {row.after for row in table}


def test_every_state_is_reached_from_another() -> None:
    """The table has no dead corner; a generator is created as such."""
    table = rows()
    reached = {row.after for row in table if row.after != row.before}

    assert {row.before for row in table} <= reached | {"generator"}


def test_end_of_every_lease_is_in_the_table_with_its_fields() -> None:
    """Whatever leads out of a lease clears lease and seat."""
    held = {"leased", "leased, told to stop", "clean-up leased"}
    ends = [row for row in rows() if row.before in held and row.after not in held]

    assert ends
    assert all({"lease_uid", "leased_by", "leased_until", "head_key"} <= row.fields for row in ends)


def test_block_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever only wants to look."""
    assert transition_table.main([]) == 0
    assert capsys.readouterr().out == f"{block()}\n"


def test_block_is_written(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the document, between its marks."""
    document = tmp_path_factory.mktemp("docs") / "concepts.md"
    document.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    monkeypatch.setattr(transition_table, "DOCUMENT", document)

    assert transition_table.main(["--write"]) == 0
    assert block() in document.read_text(encoding="utf-8")
