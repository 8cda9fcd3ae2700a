"""What users write down, and what is stored with a generator."""

from datetime import datetime
from typing import Literal

import msgspec


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """A recurrence rule (RFC 5545, section 3.3.10) with its start, its zone and its exceptions."""

    rrule: str
    """The rule's text, such as `FREQ=WEEKLY;BYDAY=MO,WE`; a leading `RRULE:` is allowed."""
    dtstart: datetime
    """Where the rule begins, aware, in whole seconds; an occurrence itself only if it matches the rule."""
    timezone: str | None = None
    """The IANA zone in whose local time the rule is meant; UTC when it is not given, whatever dtstart's offset."""
    exdates: tuple[datetime, ...] = ()
    """Instants that are left out; aware."""
    rdates: tuple[datetime, ...] = ()
    """Instants that are added; aware."""
    nonexistent: Literal["shift", "skip"] = "shift"
    """Local times that a change of the clocks leaves out: moved by the length of the gap, or left out."""
    catch_up: Literal["coalesce", "skip", "all"] = "coalesce"
    """What is made up for after a downtime: the oldest missed slot, the latest one, or all of them."""
