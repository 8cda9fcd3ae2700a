"""The leases that this worker holds, as it knows them: shared by the event loop and the renewal thread.

Deadlines are on the monotonic clock and are counted from before the request was sent, so that the worker
believes in a lease for a shorter time than the store does.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from oncetask_core.store import HeldLease, Renewed
from oncetask_core.task import OnceTask
from oncetask_core.worker.run import Run

RENEW_EVERY = 1 / 3
FENCE_FRACTION = 1 / 6
FENCE_AT_MOST = 10.0
RETRY_FRACTION = 1 / 12
ASK_SECONDS = 1.0


class Member:
    """One task of a grant. Its lease ends by itself: one that a transaction keeps locked is not extended."""

    __slots__ = ("fence_at", "is_fenced", "run")

    def __init__(self, run: Run, fence_at: float) -> None:
        self.run = run
        self.fence_at = fence_at
        self.is_fenced = False


class Grant:
    """What one claim call was given, and is renewed by one request."""

    __slots__ = ("granted_at", "lease_for", "members", "next_beat", "renew")

    def __init__(self, lease_for: timedelta, *, renew: bool, granted_at: float) -> None:
        self.lease_for = lease_for
        self.renew = renew
        self.granted_at = granted_at
        self.members: dict[str, Member] = {}
        self.next_beat = granted_at + lease_for.total_seconds() * RENEW_EVERY

    def fence_at(self, granted_at: float) -> float:
        """Return when the worker stops believing in a lease that was granted or extended at this time."""
        seconds = self.lease_for.total_seconds()
        return granted_at + seconds - min(seconds * FENCE_FRACTION, FENCE_AT_MOST)

    def plan_retry(self, now: float) -> None:
        """Renew again soon: something could not be extended."""
        self.next_beat = now + min(self.lease_for.total_seconds() * RETRY_FRACTION, 1.0)


class Findings:
    """What a renewal brought to light."""

    __slots__ = ("cancelled", "lost", "unknown")

    def __init__(self) -> None:
        self.lost: list[tuple[Run, str]] = []
        self.cancelled: list[tuple[Run, str]] = []
        self.unknown: list[tuple[str, str]] = []


class LeaseBook:
    """Which runs depend on which leases. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._doubtful: dict[str, float] = {}
        self._ask_at = 0.0
        self._given_up: set[tuple[str, str]] = set()

    def enter(self, lease_uid: str, grant: Grant, runs: Iterable[Run]) -> None:
        """Begin to renew a lease for the sake of these runs."""
        fence_at = grant.fence_at(grant.granted_at)
        for run in runs:
            for task_id in run.tasks:
                grant.members[task_id] = Member(run, fence_at)
        with self._lock:
            self._grants[lease_uid] = grant

    def drop(self, task: OnceTask[object]) -> None:
        """Forget a task that is settled or lost; a lease without tasks is no longer renewed."""
        uid = task.lease_uid or ""
        with self._lock:
            grant = self._grants.get(uid)
            if grant is not None:
                grant.members.pop(task.id, None)
                if not grant.members:
                    del self._grants[uid]

    def doubt(self, lease_uid: str, until: float) -> None:
        """Watch for tasks of a claim whose reply was lost, until the monotonic time `until`."""
        with self._lock:
            self._doubtful[lease_uid] = until
            self._ask_at = 0.0

    def give_up(self, task: OnceTask[object]) -> None:
        """Leave a task to the end of its lease: it could not be settled, and is not to be given back."""
        with self._lock:
            self._given_up.add((task.lease_uid or "", task.id))

    def is_unknown(self, task: OnceTask[object]) -> bool:
        """Return whether nothing here knows that its lease holds the task."""
        with self._lock:
            return self._is_unknown((task.lease_uid or "", task.id))

    def _is_unknown(self, key: tuple[str, str]) -> bool:
        uid, task_id = key
        grant = self._grants.get(uid)
        return key not in self._given_up and (grant is None or task_id not in grant.members)

    def fence_of(self, run: Run) -> float:
        """Return the monotonic time after which the run must not be started or go on."""
        with self._lock:
            grant = self._grants.get(run.context.task.lease_uid or "")
            members = {} if grant is None else grant.members
            return min((members[task_id].fence_at for task_id in run.tasks if task_id in members), default=0.0)

    def next_wake(self) -> float | None:
        """Return the monotonic time of the next renewal or fence; None while nothing is held."""
        with self._lock:
            beats = [grant.next_beat for grant in self._grants.values()]
            fences = [member.fence_at for member in self._members() if not member.is_fenced]
            asks = [self._ask_at] if self._doubtful else []
            return min(beats + fences + asks, default=None)

    def is_due(self, now: float) -> bool:
        """Return whether a lease has to be renewed."""
        with self._lock:
            asks = bool(self._doubtful) and self._ask_at <= now
            return asks or any(grant.next_beat <= now for grant in self._grants.values())

    def to_renew(self, now: float) -> Mapping[str, timedelta | None]:
        """Return every lease that is held, for one renewal statement; leases in doubt are only asked about."""
        with self._lock:
            self._doubtful = {uid: until for uid, until in self._doubtful.items() if until > now}
            self._ask_at = now + ASK_SECONDS
            asked: dict[str, timedelta | None] = dict.fromkeys(self._doubtful)
            return asked | {uid: grant.lease_for if grant.renew else None for uid, grant in self._grants.items()}

    def postpone(self, now: float) -> None:
        """Plan the next try after a renewal that failed."""
        with self._lock:
            for grant in self._grants.values():
                grant.plan_retry(now)

    def record(self, asked: Mapping[str, timedelta | None], renewed: Renewed, *, sent_at: float) -> Findings:
        """Take over what the store said; return which members are lost or to be cancelled.

        Members that joined after the request was sent, or whose lease was not asked about, are left alone.
        """
        findings = Findings()
        held = {(lease.lease_uid, lease.id): lease for lease in renewed.held}
        with self._lock:
            for uid in asked:
                grant = self._grants.get(uid)
                if grant is not None:
                    self._compare(uid, grant, held, findings=findings, sent_at=sent_at)
            findings.unknown = [key for key in held if self._is_unknown(key)]
        return findings

    def _compare(
        self,
        uid: str,
        grant: Grant,
        held: Mapping[tuple[str, str], HeldLease],
        *,
        findings: Findings,
        sent_at: float,
    ) -> None:
        grant.next_beat = sent_at + grant.lease_for.total_seconds() * RENEW_EVERY
        for task_id, member in list(grant.members.items()):
            lease = held.get((uid, task_id))
            if lease is None:
                findings.lost.append((member.run, task_id))
                del grant.members[task_id]
                continue
            if not lease.is_extended:
                grant.plan_retry(sent_at)
            elif grant.renew:
                member.fence_at = grant.fence_at(sent_at)
                member.is_fenced = False
            if lease.cancel_requested:
                findings.cancelled.append((member.run, task_id))
        if not grant.members:
            del self._grants[uid]

    def fenced(self, now: float) -> list[Run]:
        """Return the runs with a lease that can no longer be trusted, once for each such lease."""
        runs: dict[int, Run] = {}
        with self._lock:
            for member in self._members():
                if member.fence_at <= now and not member.is_fenced:
                    member.is_fenced = True
                    runs[id(member.run)] = member.run
        return list(runs.values())

    def _members(self) -> Iterator[Member]:
        return (member for grant in self._grants.values() for member in grant.members.values())
