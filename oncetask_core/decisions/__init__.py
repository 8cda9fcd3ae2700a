"""Every rule by which a task changes, as pure functions from a record to a transition.

`holding` decides for whoever holds the lease, `expiry` for leases that ran out, `control` for everybody else,
`ticking` for generators. What all of them share about the end of a lease stands in `ending`.
"""

from oncetask_core.decisions.control import cancel, deletion, reschedule, reset
from oncetask_core.decisions.ending import KindRules
from oncetask_core.decisions.expiry import expire
from oncetask_core.decisions.holding import (
    Failure,
    Released,
    Report,
    Snoozed,
    Success,
    conclude,
    report_progress,
)
from oncetask_core.decisions.ticking import Uids, break_off, call_off, tick

__all__ = [
    "Failure",
    "KindRules",
    "Released",
    "Report",
    "Snoozed",
    "Success",
    "Uids",
    "break_off",
    "call_off",
    "cancel",
    "conclude",
    "deletion",
    "expire",
    "report_progress",
    "reschedule",
    "reset",
    "tick",
]
