"""RFC 5545 recurrence rules, evaluated within bounds.

`rule` is what users write, `parsing` reads and checks its text, `days` knows which days of a year a rule means, `slots`
steps through them, `instants` turns local times into instants, and `schedule` is what the rest of the core asks.
"""

from oncetask_core.recurrence.rule import Recurrence
from oncetask_core.recurrence.schedule import (
    Cursor,
    Due,
    due,
    first,
    following,
    occurrence_id,
    preview,
    resume,
    validate,
)

__all__ = [
    "Cursor",
    "Due",
    "Recurrence",
    "due",
    "first",
    "following",
    "occurrence_id",
    "preview",
    "resume",
    "validate",
]
