"""What the stores do by real time, out of the way of tests that a loaded machine makes slow.

Locks are waited for much longer than in production, so that nothing else looks like a wait for one. What a store does
every second or so is not done, so that nothing but the test decides how often the server is asked.
"""

import math
from collections.abc import Iterator

import pytest

from oncetask_sql.mariadb import connecting as mariadb
from oncetask_sql.mariadb import polling
from oncetask_sql.postgresql import applying, claiming, endpoint
from oncetask_sql.postgresql import connecting as postgresql
from oncetask_sql.postgresql import store as postgresql_store

SLOWNESS = 4
"""How much longer PostgreSQL waits for a row: not more, for tests that pass wait, too, up to five times."""
TRIES = 100
"""How often a write or a claim tries on PostgreSQL: one that waits each time takes 20 s."""
LONG = 40
"""Seconds that MariaDB waits for a row, which nothing here has to do."""
A_MOMENT = 10.0
"""Seconds; nothing may wait for as long as a transaction of others stays open. A mistake costs twice as many."""


@pytest.fixture
def slow_motion() -> Iterator[None]:
    """Let the stores that the test opens wait long for locks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(postgresql, "LOCK_MILLISECONDS", postgresql.LOCK_MILLISECONDS * SLOWNESS)
        patched.setattr(applying, "_TRIES", TRIES)
        patched.setattr(claiming, "_TRIES", TRIES)
        patched.setattr(mariadb, "LOCK_SECONDS", LONG)
        yield


@pytest.fixture
def no_upkeep() -> Iterator[None]:
    """Let claims look for no keys that were noted for later, and sessions keep their plans."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(postgresql_store, "SEAT_SECONDS", math.inf)
        patched.setattr(endpoint, "PLAN_SECONDS", math.inf)
        patched.setattr(polling, "SEAT_SECONDS", math.inf)
        yield
