"""What a claim may take, as parts of statements: claims lock it, and a poll that expects nothing only looks."""

from datetime import UTC, datetime
from typing import Final

from oncetask_core.limits import LOWEST_PRIORITY
from oncetask_core.task import PRIORITY_STEP
from oncetask_sql.schema import CLAIMABLE, FREE, LOW, READY, SUSPECT
from oncetask_sql.times import micros_in, to_micros

_LONGEST_DELAY: Final = micros_in(-LOWEST_PRIORITY * PRIORITY_STEP)
"""How far behind its time the lowest priority puts a task in the claim order."""
_LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
"""The last time that can be read; a damaged row beyond it must not make claims fail."""

HELD_ROWS: Final = """FROM oncetask_task FORCE INDEX (oncetask_task_leased)
    WHERE env = %(env)s AND lease_uid = %(lease)s"""
READY_ROWS: Final = f"""FROM oncetask_task FORCE INDEX (oncetask_task_ready)
    WHERE env = %(env)s AND kind = %(kind)s AND ready_at <= :now AND wait_until <= :now AND {READY}"""
LOW_ROWS: Final = f"""FROM oncetask_task FORCE INDEX (oncetask_task_low)
    WHERE env = %(env)s AND kind = %(kind)s AND low_at > :now AND low_at <= :now + {_LONGEST_DELAY}
    AND wait_until <= :now AND {LOW}"""
SUSPECT_ROWS: Final = f"""FROM oncetask_task FORCE INDEX (oncetask_task_suspect)
    WHERE env = %(env)s AND kind = %(kind)s AND suspect_at IS NOT NULL AND wait_until <= :now
    AND {SUSPECT} AND {CLAIMABLE}"""
NEXT_DUE: Final = f"""SELECT wait_until FROM oncetask_task FORCE INDEX (oncetask_task_live)
    WHERE env = %(env)s AND kind = %(kind)s AND live_at > :now AND live_at <= {_LATEST} AND {FREE}
    ORDER BY live_at LIMIT 1"""
"""Of one kind."""
