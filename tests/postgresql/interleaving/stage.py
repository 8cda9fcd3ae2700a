"""Where scenes play: an environment of its own, what actors do there, and what is wrong with its keys."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar, cast

from oncetask_core.clock import VirtualClock
from oncetask_core.decisions import KindRules, Report, conclude, expire
from oncetask_core.task import NewTask
from oncetask_core.transition import Atom, Guard, Transition, Verdict
from oncetask_sql import waves
from oncetask_sql.codec import SELECTED, Task, decode_all
from oncetask_sql.keys import Key
from oncetask_sql.postgresql import caller, claiming, inserting, seating
from oncetask_sql.postgresql.applying import Writer
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import BEGIN, COMMIT, Session
from oncetask_sql.postgresql.store import SERVER_NOW
from oncetask_sql.sessions import Flow
from oncetask_sql.store_time import StoreTime
from oncetask_sql.wording import Wording
from tests.sql.keys import faults_of_keys
from tests.sql.world import DONE, RULES, a_claim

T = TypeVar("T")

_READ: Final = f"SELECT {SELECTED} FROM oncetask_task WHERE env = %(env)s AND resource_key IS NOT NULL"
_NOTED: Final = "SELECT kind, resource_key FROM oncetask_later WHERE env = %(env)s"
_LOCK: Final = "SELECT 1 FROM oncetask_task WHERE env = %(env)s AND id = %(id)s FOR UPDATE"
_POLLS: Final = 5

_numbers = itertools.count(1)


class Stage:
    """An environment that nobody has used, in which time stands still.

    Args:
        location: The server.
        session: A connection that looks at it.

    Attributes:
        tasks: The keyed tasks as they were when they were last looked at, by id.
        start: The same when the actors began: what they decide on.
        broken: What actors found to be wrong.
        ended: What was completed, as holders were told.
    """

    def __init__(self, location: Location, session: Session) -> None:
        self.clock = VirtualClock()
        self.wording = Wording(location.names, StoreTime(self.clock, server=SERVER_NOW), f"STAGE {next(_numbers)}")
        self.session = session
        self.tasks: dict[str, Task] = {}
        self.start: dict[str, Task] = {}
        self.broken: list[str] = []
        self.ended: set[str] = set()

    async def look(self) -> list[str]:
        """Return what is wrong with the keys as they are committed now, unless it is noted and will be mended."""
        parameters = self.wording.parameters()
        rows, noted = await self.session.batch([(self.wording.render(sql), parameters) for sql in (_READ, _NOTED)])
        tasks, faults = decode_all(rows)
        self.tasks = {task.id: task for task in tasks}
        if any(row[-1] is None for row in rows if row[0] in {fault.task_id for fault in faults}):
            return []  # a damaged row has the seat until a claim meets it
        over = [f"{task.id} has ended and is held" for task in tasks if not task.is_live and task.lease_uid is not None]
        early = [
            f"{task.id} is held before its time"
            for task in tasks
            if task.lease_uid is not None and task.started_at is not None and task.started_at < task.wait_until
        ]
        return [*over, *early, *faults_of_keys(tasks, noted={Key(*row) for row in noted})]

    async def come_to_rest(self) -> list[str]:
        """Poll until no key is noted; return what is wrong then."""
        for _ in range(_POLLS):
            faults = await self.look()
            if not await self.session.rows(self.wording.render(_NOTED), self.wording.parameters()):
                return faults
            await seating.seat_noted(self.session, self.wording)
        return ["a key stays noted"]


class Hand:
    """What an actor does on a stage, over a connection.

    Args:
        stage: The stage.
        session: The connection.
    """

    def __init__(self, stage: Stage, session: Session) -> None:
        self.stage = stage
        self._session = session
        self._wording = stage.wording

    async def create(self, *tasks: NewTask) -> None:
        """Create tasks."""
        await inserting.insert(self._session, self._wording, tasks)

    async def claim(self, lease: str, *, group: int = 1, suspects: bool = False) -> Sequence[Task]:
        """Claim one call's worth; return what was granted."""
        asked = a_claim(lease, limit=1, group=group, suspects=suspects)
        return (await claiming.claim(self._session, self._wording, asked)).tasks

    async def report(self, task: str | Task, report: Report = DONE, *, rules: KindRules = RULES) -> Verdict:
        """Report the end of a run as its holder, by the record of the start where a name is given."""
        known = self.stage.start[task] if isinstance(task, str) else task
        (verdict,) = await self.apply(conclude(known, report, rules, chance=0.0))
        if verdict is Verdict.APPLIED and report is DONE:
            self.stage.broken += [f"{known.id} is ended twice"] if known.id in self.stage.ended else []
            self.stage.ended.add(known.id)
        return verdict

    async def expire(self, *names: str) -> None:
        """End leases that have run out, as they were at the start."""
        at = self.stage.clock.now()
        await self.apply(*[expire(self.stage.start[name], RULES, at=at, chance=0.0) for name in names])

    async def apply(self, *transitions: Transition | None, inserts: Iterable[NewTask] = ()) -> list[Verdict]:
        """Write transitions of different tasks; with inserts as one atom, else each for itself."""
        decided = [one for one in transitions if one is not None]
        new = tuple(inserts)
        atoms = [Atom(tuple(decided), new)] if new else [Atom((one,)) for one in decided]
        answers = await waves.apply(Writer(self._session, self._wording), atoms)
        self.stage.broken += [str(answer.error) for answer in answers if answer.verdict is Verdict.BROKEN]
        return [answer.verdict for answer in answers]

    async def delete(self, guard: Guard) -> None:
        """Delete a task."""
        await waves.delete(Writer(self._session, self._wording), [guard])

    async def poll(self) -> None:
        """Seat what was noted."""
        await seating.seat_noted(self._session, self._wording)

    async def say(self, sql: str) -> None:
        """Run a statement around the store."""
        await self._session.batch([(self._wording.render(sql), self._wording.parameters())])

    async def hold(self, sql: str) -> None:
        """Run a statement in a transaction that ends with the next step."""
        await self._session.begin([(sql, {})])
        await self._session.batch([COMMIT])

    async def lock(self, name: str) -> None:
        """Lock a task's row, as a caller's transaction may, and end without a change."""
        await self._session.begin([(self._wording.render(_LOCK), {**self._wording.parameters(), "id": name})])
        await self._session.batch([COMMIT])

    async def create_in_own(self, *tasks: NewTask) -> None:
        """Create tasks in a transaction of the caller."""
        await self._in_own(caller.insertion(self._wording, tasks))

    async def report_in_own(self, name: str) -> None:
        """Complete a task that is held in a transaction of the caller."""
        held = self.stage.start[name]
        await self._in_own(caller.settlement(self._wording, held, lambda task: conclude(task, DONE, RULES, chance=0.0)))

    async def _in_own(self, flow: Flow[T]) -> T:
        await self._session.batch([BEGIN])
        try:
            statement = next(flow)
            while True:
                statement = flow.send(await self._session.rows(*statement))
        except StopIteration as answer:
            await self._session.batch([COMMIT])
            return cast(T, answer.value)
