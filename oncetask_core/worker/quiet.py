"""Room for suspects: a task that a worker vanished with runs where it can take nobody else along.

While a suspect waits, the worker claims nothing else until it is empty, but no longer than `QUIET_SECONDS`; while the
suspect runs, the worker claims nothing else, but no longer than `ALONE_SECONDS`. A killer therefore hits little
beside itself, and many suspects that are innocent (their worker was killed) are all running again soon.
"""

QUIET_SECONDS = 5.0
ALONE_SECONDS = 10.0


class Quiet:
    """Decides what a worker may claim, given suspects. Times are seconds on the monotonic clock."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._alone_until = 0.0
        self._suspect: str | None = None

    def notice(self, now: float, *, waiting: bool) -> None:
        """Take note of whether a suspect waits."""
        if not waiting:
            self._since = None
        elif self._since is None:
            self._since = now

    def begin(self, task_id: str, *, until: float) -> None:
        """Note that a suspect begins to run."""
        self._since, self._suspect, self._alone_until = None, task_id, until

    def end(self, task_id: str) -> None:
        """Note that a run ended."""
        if task_id == self._suspect:
            self._suspect = None

    def wants_suspect(self, now: float, *, running: int) -> bool:
        """Return whether the worker should claim a suspect now."""
        if self._since is None or self._is_alone(now):
            return False
        return running == 0 or now - self._since >= QUIET_SECONDS

    def allows_others(self, now: float) -> bool:
        """Return whether the worker may claim tasks that never crashed a worker."""
        return not self._is_alone(now) and self._since is None

    def _is_alone(self, now: float) -> bool:
        return self._suspect is not None and now < self._alone_until

    def next_change(self, now: float) -> float | None:
        """Return after how many seconds the answers change by time alone; None if they do not."""
        if self._is_alone(now):
            return self._alone_until - now
        left = 0.0 if self._since is None else self._since + QUIET_SECONDS - now
        return left if left > 0 else None
