"""Protection from retry policies of the user's own: whatever they do, a task ends or is tried again."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from oncetask_core.errors import OncetaskError
from oncetask_core.limits import check_duration
from oncetask_core.retry import DEFAULT_RETRY, RetryPolicy

logger = logging.getLogger("oncetask.worker")


@dataclass(frozen=True, slots=True)
class GuardedPolicy:
    """Asks `policy`; one that raises, or answers with no duration, is logged and replaced by the default policy."""

    policy: RetryPolicy
    kind: str

    def delay_after(self, attempts: int, error: BaseException, *, chance: float) -> timedelta | None:
        """Return what the policy says, or what the default policy says in its stead."""
        try:
            delay = self.policy.delay_after(attempts, error, chance=chance)
            return None if delay is None else check_duration(delay, "the delay of a retry policy")
        except OncetaskError as refused:
            logger.warning("the retry policy of kind %s gave no usable delay: %s", self.kind, refused)
        except (Exception, SystemExit):
            logger.exception("the retry policy of kind %s failed", self.kind)
        return DEFAULT_RETRY.delay_after(attempts, error, chance=chance)
