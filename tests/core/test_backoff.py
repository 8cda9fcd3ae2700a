"""How long to wait for a store that failed."""

from oncetask_core.backoff import Backoff


def test_delays_double_up_to_ten_seconds() -> None:
    """From a tenth of a second."""
    backoff = Backoff(lambda: 0.0)

    assert [backoff.next_delay() for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_chance_shortens_by_up_to_a_half() -> None:
    """Workers that lost the same store do not return in step."""
    chances = iter([0.0, 0.5, 1.0])
    backoff = Backoff(lambda: next(chances))

    assert [backoff.next_delay() for _ in range(3)] == [0.1, 0.2 * 0.75, 0.4 * 0.5]


def test_answer_begins_anew() -> None:
    """The next outage starts with the shortest delay."""
    backoff = Backoff(lambda: 0.0)
    for _ in range(5):
        backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() == 0.1
