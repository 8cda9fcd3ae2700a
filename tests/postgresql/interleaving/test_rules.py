"""The rules of keys on PostgreSQL hold however the steps of several connections are mixed, and the tests would notice.

Each scene is played in every interleaving of its actors' statements, some of which stop in their middle: after every
commit the seats of its key are as the specification says, or noted. Each broken variant is planted when a scene begins,
and the same check finds it.
"""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.postgresql.interleaving.exploring import explored, first_fault
from tests.postgresql.interleaving.pairs import PAIRS
from tests.postgresql.interleaving.pausing import PAUSED
from tests.postgresql.interleaving.scenes import PATHS, SCENES
from tests.postgresql.interleaving.variants import VARIANTS, Variant
from tests.postgresql.world import Schemas, needs_server

pytestmark = needs_server

ALL_SCENES = {**SCENES, **PATHS, **PAUSED}
SOME_PAIRS = list(PAIRS)[:: int(os.environ.get("ONCETASK_PAIRS", "130"))]
"""One pair of actions out of so many; with 1 all of them, which takes several minutes."""
CASES = [pytest.param(variant, id=f"{rule}: {variant.name}") for rule, some in VARIANTS.items() for variant in some]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of tables that all scenes share, each run in an environment of its own."""
    made = Schemas()
    yield made.new()
    made.remove()


@pytest.mark.parametrize("name", ALL_SCENES)
def test_the_rules_hold_in_every_interleaving(name: str, url: str) -> None:
    """Whoever comes first, and wherever the other is just then."""
    assert asyncio.run(explored(ALL_SCENES[name], url)) > 1


@pytest.mark.parametrize("name", SOME_PAIRS)
def test_any_two_actions_go_together(name: str, url: str) -> None:
    """Whatever else happens to the key at the same time."""
    assert asyncio.run(explored(PAIRS[name], url)) > 1


@pytest.mark.parametrize("variant", CASES)
def test_a_broken_variant_is_found(variant: Variant, url: str) -> None:
    """The check that the store passes fails where a part of a rule is left out, for the reason that it is there for."""
    found = asyncio.run(first_fault(variant.scene, url, lambda: variant.plant(url)))

    assert variant.fault in found


def test_every_rule_has_a_broken_variant() -> None:
    """None is there that nothing would notice."""
    assert list(VARIANTS) == [f"K{number}" for number in range(1, 10)]
