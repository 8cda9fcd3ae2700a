"""The store on MariaDB, for any number of processes and machines."""

from oncetask_core.claims import Claim
from oncetask_core.clock import Clock, SystemClock
from oncetask_core.env import DEFAULT_ENV
from oncetask_core.limits import check_env
from oncetask_core.loops import PerLoop
from oncetask_core.store import Claimed
from oncetask_sql.callers import Callers
from oncetask_sql.lanes import Lanes
from oncetask_sql.mariadb import caller, inserting, operations
from oncetask_sql.mariadb.endpoint import Endpoint
from oncetask_sql.mariadb.location import Location, located
from oncetask_sql.mariadb.polling import Polling
from oncetask_sql.mariadb.session import Session
from oncetask_sql.mariadb.statements import SERVER_NOW
from oncetask_sql.server_store import ServerStore
from oncetask_sql.store_time import StoreTime
from oncetask_sql.wording import Wording


class MariadbStore(ServerStore[Session, Location]):
    """Tasks in a MariaDB database; implements `TaskStore`.

    Usable from any thread and event loop, and after a fork: each loop of each process has connections of its own.

    Args:
        location: The server, as a URL or as `located` reads it.
        env: The environment whose tasks are read and written.
        clock: Where the store's time comes from; the server's clock when not given.

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """

    def __init__(self, location: Location | str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> None:
        place = location if isinstance(location, Location) else located(location)
        own_time = StoreTime(None if clock is None or isinstance(clock, SystemClock) else clock, server=SERVER_NOW)
        wording = Wording(place.names, own_time, check_env(env))

        def lanes() -> Lanes[Session]:
            return Lanes(lambda _: Endpoint(place), lambda session, tasks: inserting.insert(session, wording, tasks))

        callers = Callers(caller, Wording(place.qualified_names, own_time, env))
        super().__init__(place, operations, wording=wording, loops=PerLoop(lanes), callers=callers)
        self._polling = Polling(always_seats=own_time.is_injected)

    @property
    def capabilities(self) -> frozenset[str]:
        """The clock can be injected; of others' tasks the store hears by asking alone."""
        return frozenset({"caller_transaction", "injected_clock"})

    async def claim(self, claim: Claim) -> Claimed:
        """Lease due tasks; never waits for rows that somebody else has locked."""
        return await self._run("claims", lambda s, w: self._polling.claim(s, w, claim))


def open_mariadb(url: str, *, env: str = DEFAULT_ENV, clock: Clock | None = None) -> MariadbStore:
    """Return the store of a URL such as `mysql://user@host/database`; nothing is connected yet.

    Raises:
        ConfigurationError: The URL is malformed or has an option that is unknown or out of bounds.
        InvalidTaskError: No store could keep the name of the environment.
    """
    return MariadbStore(located(url), env=env, clock=clock)
