"""What a worker is given: its clock, its chance, its identities, and its settings."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from oncetask_core.clock import Clock, SystemClock, VirtualClock
from oncetask_core.errors import ConfigurationError
from oncetask_core.limits import check_duration, check_worker_name


def new_uid() -> str:
    """Return an identity that nobody can guess or meet twice: 128 random bits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Everything by which time and chance enter the manager and the worker."""

    clock: Clock = field(default_factory=SystemClock)
    chance: Callable[[], float] = field(default_factory=lambda: random.Random().random)
    new_uid: Callable[[], str] = new_uid

    @property
    def threaded_renewals(self) -> bool:
        """Whether leases are renewed on a thread of their own; in virtual time they share the event loop."""
        return not isinstance(self.clock, VirtualClock)


def check_seams(seams: object) -> Seams:
    """Return the seams that are meant; None means those of the real world.

    Raises:
        ConfigurationError: It is something else, such as a clock alone.
    """
    if seams is None:
        return Seams()
    if not isinstance(seams, Seams):
        raise ConfigurationError(
            value=seams, rule="seams is a Seams", remedy="Write Seams(clock=VirtualClock()), or leave it out."
        )
    return seams


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker behaves. Durations are timedeltas or seconds.

    Args:
        name: Shown in `leased_by` and logs, for people; safety never depends on it.
        poll_interval: The longest rest while nothing is known to be due; each rest is 0.5 to 1 times as long.
        shutdown_timeout: How long handlers may go on after a stop was asked for.
        keep_finished_for: Finished tasks older than this are deleted; None keeps them.

    Raises:
        ConfigurationError: A setting is out of bounds.
    """

    name: str
    poll_interval: timedelta | float = timedelta(seconds=1)
    shutdown_timeout: timedelta | float = timedelta(seconds=25)
    keep_finished_for: timedelta | float | None = None

    def __post_init__(self) -> None:
        check_worker_name(self.name)
        check_duration(self.poll_interval, "poll_interval", positive=True)
        check_duration(self.shutdown_timeout, "shutdown_timeout")
        if self.keep_finished_for is not None:
            check_duration(self.keep_finished_for, "keep_finished_for")

    @property
    def poll_seconds(self) -> float:
        """The poll interval in seconds."""
        return check_duration(self.poll_interval, "poll_interval", positive=True).total_seconds()

    @property
    def shutdown_seconds(self) -> float:
        """The shutdown timeout in seconds."""
        return check_duration(self.shutdown_timeout, "shutdown_timeout").total_seconds()

    @property
    def retention(self) -> timedelta | None:
        """How long finished tasks are kept."""
        return None if self.keep_finished_for is None else check_duration(self.keep_finished_for, "keep_finished_for")
