"""A store whose tests did not run has passed nothing: the session fails instead.

`ONCETASK_REQUIRE_STORES=memory,sqlite` names stores. A binding of the conformance suite says which store it
is for, with `pytestmark = pytest.mark.store("sqlite")`; a required store needs at least one test of its
binding that passed. Sessions that leave out this folder, or choose tests by name or mark, are not asked.

A test module of this folder that collects no test fails as well, whatever is required: a binding that lost
its tests looks like one that passes.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

VARIABLE = "ONCETASK_REQUIRE_STORES"
PROPERTY = "store"


def pytest_configure(config: pytest.Config) -> None:
    """Watch the session if stores are required; workers of a parallel session only report."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    required = {name for name in names if name}
    if required and not hasattr(config, "workerinput") and _covers(config, Path(__file__).parent):
        config.pluginmanager.register(_Watch(required), "required-stores-watch")


def _covers(config: pytest.Config, folder: Path) -> bool:
    """Tell whether the session runs all tests of a folder."""
    if config.option.keyword or config.option.markexpr or config.option.collectonly:
        return False
    asked = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(folder.is_relative_to(path) for path in asked)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write the stores of a test into its reports, which also arrive from parallel workers."""
    for mark in item.iter_markers("store"):
        item.user_properties.extend((PROPERTY, name) for name in mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module or class of this folder that has no test."""
    report = yield
    ours = isinstance(collector, pytest.Module | pytest.Class) and collector.path.parent == Path(__file__).parent
    if ours and report.passed and not report.result:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} has no test: is its store still bound to the conformance suite?"
    return report


class _Watch:
    """Remembers which required stores passed a test."""

    def __init__(self, required: set[str]) -> None:
        self._missing = set(required)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._missing -= {str(value) for name, value in report.user_properties if name == PROPERTY}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Count each store that is missing as an error of the session."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        for name in sorted(self._missing):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if reporter is not None:
                reporter.stats.setdefault("error", []).append(_missing(name))


def _missing(name: str) -> pytest.CollectReport:
    reason = (
        f"{VARIABLE} names {name!r}, but no conformance test of this store passed. Bind it with "
        f"pytest.mark.store({name!r}), start what it needs, or do not require it."
    )
    return pytest.CollectReport(nodeid=f"required store {name}", outcome="failed", longrepr=reason, result=[])
