"""What the model machine met, shown at the end of the session: a run that meets little proves little."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the oldest pytest that we support does not export it
    import pytest


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print the tallies of the runs that passed, those of parallel workers too."""
    for report in terminalreporter.getreports("passed"):
        for title, text in report.sections:
            if title == "Captured tally call":
                terminalreporter.section("model machine")
                terminalreporter.line(text)
