"""Actors who go one step at a time: a step runs one statement that others can notice, or ends waiting for a lock."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from oncetask_sql.codec import Row
from oncetask_sql.postgresql.connecting import connect
from oncetask_sql.postgresql.failures import LOCKED
from oncetask_sql.postgresql.location import Location
from oncetask_sql.postgresql.session import Session, Statement

IMPATIENCE: Final = "10ms"
"""What an impatient actor waits for a lock."""
REFUSALS: Final = 2
"""How often an impatient actor is refused a lock before it goes on only after somebody else's step."""
GLANCE: Final = 0.002
"""Seconds after which an actor that has not come to rest is asked about: it may wait for a lock."""

_UNNOTICED: Final = re.compile(
    r"SELECT set_config|SELECT pg_advisory_xact_lock\(|SELECT min\(due|SELECT %\(now\)s$"
    r"|SELECT .* AND lease_uid = %\(lease\)s$"
)
"""Statements that neither change what others see, nor depend on what others do in these scenes."""
_PATIENCE: Final = re.compile(r"SELECT set_config\('lock_timeout'")
_WAITS: Final = """SELECT EXISTS (SELECT 1 FROM pg_stat_activity
    WHERE pid = ANY (pg_blocking_pids(%(pid)s::int)) AND backend_type = 'client backend')"""
"""Whether it waits for somebody: the server's own maintenance holds up a statement, too, and gives way by itself."""
_WAITS_WITH_STRIPE: Final = """SELECT bool_or(granted AND locktype = 'advisory' AND classid = %(space)s)
    AND bool_or(NOT granted AND locktype <> 'advisory') FROM pg_locks WHERE pid = %(pid)s"""


class SteppedSession(Session):
    """Says each statement alone, and stops before those that begin a step.

    How long a lock is waited for is for the test to say: what the store says about it is left out.

    Args:
        connection: The connection.
        turn: Returns when the statement that it is given may be said.
        is_coarse: Whether only what begins a transaction begins a step.

    Attributes:
        refusals: How often a lock was refused.
    """

    def __init__(
        self, connection: AsyncConnection[Row], turn: Callable[[str], Awaitable[None]], *, is_coarse: bool
    ) -> None:
        super().__init__(connection)
        self.refusals = 0
        self._turn = turn
        self._is_coarse = is_coarse

    async def batch(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements one after the other; the first that fails ends the batch."""
        try:
            return [await self._say(sql, values) for sql, values in statements]
        except BaseException as error:
            self.refusals += isinstance(error, LOCKED)
            await self._roll_back()
            raise

    async def _say(self, sql: str, values: Any) -> list[Row]:
        if self._begins_a_step(sql):
            await self._turn(sql)
        if _PATIENCE.match(sql):
            return []
        cursor = await self.connection.execute(sql, values)
        return await cursor.fetchall() if cursor.description is not None else []

    def _begins_a_step(self, sql: str) -> bool:
        if self._is_coarse:
            is_first = self.connection.info.transaction_status is TransactionStatus.IDLE
            return is_first and not _UNNOTICED.match(sql)
        return not (sql.startswith("BEGIN") or _UNNOTICED.match(sql))


class Actor:
    """Somebody with a connection and a script.

    Args:
        name: Its name in traces.
        connection: Its connection.
        is_coarse: Whether its steps are whole transactions.

    Attributes:
        session: Its session.
        next: How the statement begins that it stands before.
    """

    def __init__(self, name: str, connection: AsyncConnection[Row], *, is_coarse: bool) -> None:
        self.name = name
        self.connection = connection
        self.session = SteppedSession(connection, self._turn, is_coarse=is_coarse)
        self.next = ""
        self._task: asyncio.Task[None] | None = None
        self._rests = asyncio.Event()
        self._rests.set()
        self._goes = asyncio.Event()

    @property
    def can_step(self) -> bool:
        """Whether it stands before a step and was not refused again and again since others made one."""
        return not self.is_over and self._rests.is_set() and self.session.refusals < REFUSALS

    @property
    def is_over(self) -> bool:
        """Whether its script has ended."""
        return self._task is not None and self._task.done()

    @property
    def is_at_rest(self) -> bool:
        """Whether it stands before a step, is over, or has not begun."""
        return self._rests.is_set()

    @property
    def failure(self) -> BaseException | None:
        """What its script raised, once it is over."""
        return self._task.exception() if self._task is not None else None

    def begin(self, script: Coroutine[Any, Any, None]) -> None:
        """Go to the first step."""
        self._rests.clear()
        self._task = asyncio.create_task(script)
        self._task.add_done_callback(lambda _: self._rests.set())

    def step(self) -> None:
        """Go on to the next step."""
        self._rests.clear()
        self._goes.set()

    async def rests(self, seconds: float) -> bool:
        """Return whether it comes to rest within a time."""
        try:
            async with asyncio.timeout(seconds):
                await self._rests.wait()
        except TimeoutError:
            return False
        return True

    async def _turn(self, sql: str) -> None:
        self.next = " ".join(sql.split()[:3])
        self._rests.set()
        await self._goes.wait()
        self._goes.clear()


class Observer:
    """Looks at actors from outside, and makes connections for them."""

    def __init__(self, location: Location, session: Session) -> None:
        self.location = location
        self.session = session

    async def has_stopped(self, actor: Actor, *, gives_up: bool) -> bool:
        """Wait until an actor has come to rest or waits for a lock; return whether it waits.

        Args:
            actor: Somebody who was sent on.
            gives_up: Whether it waits for a moment only, and comes to rest then.
        """
        while not await actor.rests(GLANCE):
            if not gives_up and await self._says(_WAITS, actor):
                return True
        return False

    async def waits_with_stripe(self, actor: Actor) -> bool:
        """Return whether it waits for somebody's row while it has the stripe of a key."""
        return await self._says(_WAITS_WITH_STRIPE, actor)

    async def _says(self, query: str, actor: Actor) -> bool:
        space = self.location.names.lock_space % 2**32
        values = {"pid": actor.connection.info.backend_pid, "space": space}
        return bool((await self.session.rows(query, values))[0][0])


async def connection(location: Location, *, is_patient: bool) -> AsyncConnection[Row]:
    """Return a connection as the store's, whose locks are waited for as long as it takes, or for a moment."""
    made = await connect(location, "writes")
    await made.execute(f"SET lock_timeout = '{0 if is_patient else IMPATIENCE}'".encode())
    return made
