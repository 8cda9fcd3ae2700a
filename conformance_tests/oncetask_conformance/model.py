"""A store in the plainest Python: one dictionary per task, and loops over all of them.

It says the contract a second time, independently: of the core it knows the values of the port and no rule, and
of other stores nothing. What one person does to one task stands in `deeds`; here stand the verbs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oncetask_conformance.deeds import MINUTE, Deed, Kind, Row, Tick, do, occurrences, verdict_of
from oncetask_core.claims import Claim
from oncetask_core.query import TaskFilter
from oncetask_core.task import NewTask, StoreNow
from oncetask_core.transition import Inserted, Verdict

_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Act:
    """Deeds and inserts that happen together or not at all."""

    deeds: Sequence[Deed]
    inserts: Sequence[NewTask] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of an act, and the row on account of which it was refused."""

    verdict: Verdict
    row: Row | None = None
    inserted: Sequence[Inserted] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim got, in order, and when there is more."""

    rows: Sequence[Row]
    next_due: datetime | None
    next_due_of_idle: datetime | None = None
    """The same of the kinds that have slots left: who is busy need not be told, or is told what was known before."""
    some_are_busy: bool = False
    """Whether the slots of a kind were all used."""
    repeated: bool = False


class Model:
    """The tasks of one environment.

    Args:
        env: Its name.
        kinds: The kinds that there are.
    """

    def __init__(self, env: str, kinds: Mapping[str, Kind]) -> None:
        self.env = env
        self.kinds = kinds
        self.rows: dict[str, Row] = {}
        self.control: dict[str, tuple[str, int]] = {}
        """Value and revision by name."""
        self._born = 0
        self._granted = 0

    def insert(self, news: Iterable[NewTask], now: datetime) -> list[Inserted]:
        """Add the tasks whose ids are unknown."""
        answers = [self._insert(new, now) for new in news]
        self._seat()
        return answers

    def _insert(self, new: NewTask, now: datetime) -> Inserted:
        created = new.id not in self.rows
        if created:
            self._born += 1
            self.rows[new.id] = _new_row(new, env=self.env, now=now, sequence=self._born)
        row = self.rows[new.id]
        return Inserted(id=new.id, created=created, kind=row["kind"], created_by=row["created_by"])

    def apply(self, acts: Iterable[Act], now: datetime) -> list[Reply]:
        """Write the acts that nothing speaks against, one after the other."""
        replies = [self._apply(act, now) for act in acts]
        self._seat()
        return replies

    def _apply(self, act: Act, now: datetime) -> Reply:
        before = {task_id: row.copy() for task_id, row in self.rows.items()}
        verdicts = []
        for deed in act.deeds:
            row = self.rows.get(deed.seen["id"])
            verdicts.append(verdict_of(deed, row, now))
            if row is not None and verdicts[-1] is Verdict.APPLIED:
                do(deed, row, self.kinds[row["kind"]], now=now)
        refused = _first_refused(verdicts)
        if refused is not None:
            self.rows = before
            row = before.get(act.deeds[refused].seen["id"])
            return Reply(verdicts[refused], None if row is None else row.copy())
        news = [new for deed in act.deeds if isinstance(deed, Tick) for new in occurrences(deed)]
        return Reply(Verdict.APPLIED, inserted=[self._insert(new, now) for new in (*news, *act.inserts)])

    def delete(self, seen: Iterable[Row]) -> list[Verdict]:
        """Remove each task that still is as it was seen."""
        verdicts = [self._delete(row) for row in seen]
        self._seat()
        return verdicts

    def _delete(self, seen: Row) -> Verdict:
        row = self.rows.get(seen["id"])
        if row is None:
            return Verdict.MISSING
        if (row["run_uid"], row["revision"]) != (seen["run_uid"], seen["revision"]):
            return Verdict.CHANGED
        del self.rows[seen["id"]]
        return Verdict.APPLIED

    def claim(self, claim: Claim, now: datetime) -> Taken:
        """Lease what is due, or say again what this lease already holds."""
        held = sorted(self._held(claim.lease_uid), key=lambda row: row["epoch"])
        if held:
            return Taken([row.copy() for row in held], next_due=None, repeated=True)
        taken = self._suspect(claim, now) if claim.suspects else self._heads_with_groups(claim, now)
        for row in taken:
            self._lease(row, claim, now)
        self._seat()
        idle = _idle(claim, taken)
        return Taken(
            [row.copy() for row in taken],
            self._next_due(claim.slots, now),
            next_due_of_idle=self._next_due(idle, now),
            some_are_busy=len(idle) < len(claim.slots),
        )

    def _next_due(self, kinds: Collection[str], now: datetime) -> datetime | None:
        free = [row for row in self.rows.values() if row["kind"] in kinds and _is_free(row)]
        return min((row["wait_until"] for row in free if row["wait_until"] > now), default=None)

    def _held(self, lease_uid: str) -> list[Row]:
        return [row for row in self.rows.values() if row["lease_uid"] == lease_uid]

    def _claimable(self, now: datetime) -> list[Row]:
        due = [row for row in self.rows.values() if _is_free(row) and row["wait_until"] <= now]
        may = [row for row in due if row["recurrence"] is None]
        seated = [row for row in may if row["resource_key"] is None or row["head_key"] is not None]
        return sorted(seated, key=lambda row: (row["order_at"], row["sequence"]))

    def _suspect(self, claim: Claim, now: datetime) -> list[Row]:
        suspects = [row for row in self._claimable(now) if row["crashes"] > 0 and row["kind"] in claim.slots]
        return suspects[:1]

    def _heads_with_groups(self, claim: Claim, now: datetime) -> list[Row]:
        taken: list[Row] = []
        for kind, slots in claim.slots.items():
            heads = [row for row in self._claimable(now) if row["kind"] == kind and row["crashes"] == 0]
            for head in heads[: slots.limit]:
                taken.append(head)
                if head["resource_key"] is not None:
                    taken += self._successors(head, now)[: slots.group - 1]
        return taken

    def _successors(self, head: Row, now: datetime) -> list[Row]:
        """Return who follows the head in the order of its key, up to the first gap where the order is strict."""
        joining = []
        for row in sorted(self._contenders((head["kind"], head["resource_key"] or "")), key=_place_at_key):
            if row is head:
                continue
            if row["lease_uid"] is None and row["wait_until"] <= now and row["crashes"] == 0:
                joining.append(row)
            elif row["strict_order"]:
                break
        return joining

    def _lease(self, row: Row, claim: Claim, now: datetime) -> None:
        self._granted += 1
        row["lease_uid"], row["leased_by"] = claim.lease_uid, claim.leased_by
        row["leased_until"] = now + claim.lease_for
        row["epoch"] = self._granted
        row["in_cleanup"] = row["is_cancelled"]
        row["started_at"] = now
        row["claims"] += 1
        row["revision"] += 1

    def renew(self, leases: Mapping[str, timedelta | None], now: datetime) -> list[Row]:
        """Extend what the leases hold, and return it."""
        held = [row for row in self.rows.values() if row["lease_uid"] in leases]
        for row in held:
            duration = leases[row["lease_uid"] or ""]
            if duration is not None and row["leased_until"] is not None:
                row["leased_until"] = max(row["leased_until"], now + duration)
        return [row.copy() for row in held]

    def find(self, where: TaskFilter, now: datetime) -> list[Row]:
        """Return what matches, the oldest first."""
        found = [row for row in self.rows.values() if _matches(where, row, now)]
        return sorted(found, key=lambda row: row["sequence"])

    def write_control(self, name: str, if_revision: int | None) -> bool:
        """Return whether a control record may be written."""
        return if_revision is None or if_revision == (self.control[name][1] if name in self.control else 0)

    def _seat(self) -> None:
        for row in self.rows.values():
            if row["lease_uid"] is None:
                row["head_key"] = None
        for kind, key in {(row["kind"], row["resource_key"]) for row in self.rows.values()}:
            contenders = [] if key is None else self._contenders((kind, key))
            if contenders and all(row["lease_uid"] is None for row in contenders):
                min(contenders, key=_place_at_key)["head_key"] = key

    def _contenders(self, key: tuple[str, str]) -> list[Row]:
        of_key = [row for row in self.rows.values() if (row["kind"], row["resource_key"]) == key]
        return [row for row in of_key if row["outcome"] is None and row["recurrence"] is None]


def _first_refused(verdicts: Sequence[Verdict]) -> int | None:
    """Return which guard voids its act; a repeated settle does so only where nothing else does."""
    refusals = [n for n, verdict in enumerate(verdicts) if verdict not in {Verdict.APPLIED, Verdict.ALREADY}]
    repeats = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.ALREADY]
    return next(iter(refusals or repeats), None)


def _new_row(new: NewTask, *, env: str, now: datetime, sequence: int) -> Row:
    wait_until = now + new.wait_until.plus if isinstance(new.wait_until, StoreNow) else new.wait_until
    return Row(
        id=new.id,
        kind=new.kind,
        env=env,
        payload=new.payload,
        run_uid=new.run_uid,
        created_by=new.created_by,
        created_at=now,
        wait_until=wait_until,
        order_at=wait_until - new.priority * MINUTE,
        sequence=sequence,
        resource_key=new.resource_key,
        strict_order=new.strict_order,
        head_key=None,
        queue=new.queue,
        priority=new.priority,
        headers=dict(new.headers),
        lease_uid=None,
        leased_by=None,
        leased_until=None,
        epoch=0,
        in_cleanup=False,
        started_at=None,
        revision=0,
        settled_by=(),
        claims=0,
        failures=0,
        crashes=0,
        cleanup_attempts=0,
        is_cancelled=False,
        cancelled_at=None,
        done_at=None,
        outcome=None,
        result=None,
        errors=(),
        error_count=0,
        progress=None,
        recurrence=new.recurrence,
        slots_used=new.slots_used,
        parent_recurrence_id=new.parent_recurrence_id,
        occurrence_timestamp=new.occurrence_timestamp,
    )


def _idle(claim: Claim, taken: Sequence[Row]) -> frozenset[str]:
    """Return the kinds with slots that a claim has not used; a suspect is claimed alone."""
    if claim.suspects and taken:
        return frozenset()
    heads = [row["kind"] for row in taken if row["resource_key"] is None or row["head_key"] is not None]
    return frozenset(kind for kind, slots in claim.slots.items() if heads.count(kind) < slots.limit)


def _is_free(row: Row) -> bool:
    return row["outcome"] is None and row["lease_uid"] is None


def _place_at_key(row: Row) -> tuple[datetime, int]:
    return (_ALWAYS if row["strict_order"] else row["wait_until"], row["sequence"])


def status_of(row: Row, now: datetime) -> str:
    """Return what the task is doing, as the Go library calls it."""
    if row["outcome"] is not None:
        return row["outcome"].value
    if row["is_cancelled"]:
        return "cancellationPending"
    if row["leased_until"] is not None and row["leased_until"] > now:
        return "leased"
    return "waiting" if row["wait_until"] > now else "pending"


def _matches(where: TaskFilter, row: Row, now: datetime) -> bool:
    finished = row["outcome"] is not None
    ran_out = row["leased_until"] is not None and row["leased_until"] <= now
    due = not finished and row["wait_until"] <= now and (row["lease_uid"] is None or ran_out)
    agree: Sequence[tuple[bool | None, bool]] = [
        (where.live, not finished),
        (where.due, due),
        (where.run_out, ran_out),
        (where.generators, row["recurrence"] is not None),
        (where.suspects, row["crashes"] > 0),
    ]
    among: Sequence[tuple[Collection[str] | None, str]] = [
        (where.ids, row["id"]),
        (where.kinds, row["kind"]),
        (where.statuses, status_of(row, now)),
    ]
    equal = [
        (where.resource_key, row["resource_key"]),
        (where.queue, row["queue"]),
        (where.parent_recurrence_id, row["parent_recurrence_id"]),
    ]
    wanted = all(asked in (None, fact) for asked, fact in agree) and all(asked in (None, fact) for asked, fact in equal)
    return wanted and all(asked is None or fact in asked for asked, fact in among) and _matches_times(where, row)


def _matches_times(where: TaskFilter, row: Row) -> bool:
    if where.created_from is not None and row["created_at"] < where.created_from:
        return False
    if where.created_before is not None and row["created_at"] >= where.created_before:
        return False
    return where.done_before is None or (row["done_at"] is not None and row["done_at"] < where.done_before)
