"""python-dateutil as a second opinion, in a process of its own: for some rules it never returns.

Reads one JSON line `{"rule": ..., "start": ..., "count": ...}` per rule, answers one line each: the instants as
seconds since 1970, or null when dateutil refuses the rule.
"""

import json
import sys
from datetime import UTC, datetime
from itertools import islice

from dateutil.rrule import rrulestr


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        start = datetime.fromtimestamp(asked["start"], UTC)
        try:
            slots = [int(slot.timestamp()) for slot in islice(rrulestr(asked["rule"], dtstart=start), asked["count"])]
        except (ValueError, IndexError):
            slots = None
        sys.stdout.write(json.dumps(slots) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
