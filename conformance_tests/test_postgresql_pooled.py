"""PostgreSQL as it is spoken to through a pooler, bound to the conformance suite: full numbers only."""

import pytest
from test_postgresql import PostgresqlHarness, needs_server

from oncetask_conformance import conformance

pytestmark = [pytest.mark.store("postgresql"), needs_server]

globals().update(conformance(PostgresqlHarness(options="&pooler=transaction")))
