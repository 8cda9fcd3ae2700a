"""The exploration finds every planted mistake: a promise that it watches is a promise that it can see broken."""

import pytest

from tests.spec.broken import MISTAKES, Mistake
from tests.spec.checks import Rule, ViolationError
from tests.spec.exploration import explore


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_planted_mistake_is_found(mistake: Mistake) -> None:
    """A broken rule breaks the promise that it is there for, and the exploration says which."""
    with pytest.raises(ViolationError) as caught:
        explore(mistake.scenario, mistake.core)

    assert caught.value.rule in mistake.breaks


def test_every_promise_has_a_mistake_that_breaks_it() -> None:
    """No check is there that nothing can fail."""
    assert {rule for mistake in MISTAKES for rule in mistake.breaks} == set(Rule)
