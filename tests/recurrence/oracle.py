"""python-dateutil as a second opinion, in a process of its own: for some rules it never returns.

Reads one JSON line `{"rule": ..., "start": ..., "count": ..., "seconds": ...}` per rule, answers one line each: the
instants as seconds since 1970, null when dateutil refuses the rule, or "slow" when it takes more than so many seconds.
Those are seconds of CPU time: a machine on which others are at work, too, has the same answers.
"""

import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from itertools import islice

from dateutil.rrule import rrulestr


class SlowError(BaseException):
    """The time for a rule is over; not to be caught by dateutil."""


def give_up(*_: object) -> None:
    """Break off what runs."""
    raise SlowError


def answer_to(rule: str, start: datetime, count: int) -> list[int] | None:
    """Return the first slots, or None when dateutil refuses the rule."""
    try:
        return [int(slot.timestamp()) for slot in islice(rrulestr(rule, dtstart=start), count)]
    except (ValueError, IndexError):
        return None


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        answer: list[int] | str | None = "slow"
        with contextlib.suppress(SlowError):
            signal.setitimer(signal.ITIMER_VIRTUAL, asked["seconds"], asked["seconds"])
            signal.signal(signal.SIGVTALRM, give_up)
            answer = answer_to(asked["rule"], datetime.fromtimestamp(asked["start"], UTC), asked["count"])
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
