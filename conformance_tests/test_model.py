"""The stores against the model: the same random scripts on both, every reply and all that is stored compared.

`ONCETASK_MODEL_MEMORY`, `ONCETASK_MODEL_SQLITE`, `ONCETASK_MODEL_POSTGRESQL`, `ONCETASK_MODEL_MARIADB` and
`ONCETASK_MODEL_FIRESTORE` say how many scripts. They are others each time; a failure names what plays the same ones
again.
"""

import ast
import inspect
import os
from collections.abc import Mapping
from types import ModuleType

import pytest
from test_firestore import FirestoreHarness
from test_firestore import needs_server as needs_firestore
from test_mariadb import MariadbHarness
from test_mariadb import needs_server as needs_mariadb
from test_memory import MemoryHarness
from test_postgresql import PostgresqlHarness, needs_server
from test_sqlite import SqliteHarness

from oncetask_conformance import Harness, RawTask, deeds, model
from oncetask_conformance.machine import check_against_model

MEMORY = int(os.environ.get("ONCETASK_MODEL_MEMORY", "500"))
SQLITE = int(os.environ.get("ONCETASK_MODEL_SQLITE", "100"))
POSTGRESQL = int(os.environ.get("ONCETASK_MODEL_POSTGRESQL", "50"))
MARIADB = int(os.environ.get("ONCETASK_MODEL_MARIADB", "50"))
FIRESTORE = int(os.environ.get("ONCETASK_MODEL_FIRESTORE", "10"))
ENOUGH = 100
"""From so many scripts on, a run has to have met everything."""
VALUES = {
    "oncetask_core.claims": {"Claim"},
    "oncetask_core.query": {"TaskFilter"},
    "oncetask_core.recurrence": {"Recurrence"},
    "oncetask_core.status": {"Outcome"},
    "oncetask_core.task": {"NewTask", "StoreNow", "TaskError", "When"},
    "oncetask_core.transition": {"Inserted", "Verdict"},
}
"""What the model may know of the core: names that hold data and no rule."""


BINDINGS: Mapping[str, tuple[Harness, int, int]] = {
    "memory": (MemoryHarness(), MEMORY, 1),
    "sqlite": (SqliteHarness(), SQLITE, 50),
    "postgresql": (PostgresqlHarness(), POSTGRESQL, 50),
    "mariadb": (MariadbHarness(), MARIADB, 50),
    "firestore": (FirestoreHarness(), FIRESTORE, 10),
}
"""By store: the binding, how many scripts, and how many of them share a space."""
MARKS = {
    "postgresql": [pytest.mark.store("postgresql"), needs_server],
    "mariadb": [pytest.mark.store("mariadb"), needs_mariadb],
    "firestore": [pytest.mark.store("firestore"), needs_firestore],
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, [pytest.mark.store(name)])) for name in BINDINGS]
)
def test_a_store_does_what_the_model_does(name: str, request: pytest.FixtureRequest) -> None:
    """No reply and no stored field differs, and the scripts meet every rule, verdict and rare situation."""
    harness, examples, stores_per_space = BINDINGS[name]

    tally = check_against_model(harness, examples=examples, stores_per_space=stores_per_space)

    request.node.add_report_section("call", "tally", f"{name}: {tally}")
    gaps = tally.gaps() if examples >= ENOUGH else []
    if gaps:  # what chance left out once, it does not leave out twice
        again = check_against_model(harness, examples=examples, stores_per_space=stores_per_space)
        gaps = [gap for gap in again.gaps() if gap in gaps]
    assert gaps == []


@pytest.mark.parametrize("module", [deeds, model])
def test_the_model_knows_values_of_the_core_and_no_rule(module: ModuleType) -> None:
    """A rule that the model shared with the core would be right by definition."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    known = {(node.module or "", alias.name) for node in imports for alias in node.names}

    of_ours = {(name, value) for name, value in known if name.startswith("oncetask")}
    allowed = {(name, value) for name, values in VALUES.items() for value in values}
    assert {(name, value) for name, value in of_ours if name != deeds.__name__} <= allowed


def test_rows_of_the_model_have_every_stored_field() -> None:
    """A field that is added to the record is compared."""
    assert set(deeds.Row.__annotations__) == set(RawTask.__struct_fields__)
