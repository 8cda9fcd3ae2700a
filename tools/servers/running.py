"""Servers for as long as a `with` block lasts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tools.servers.engine import Client, Engine
from tools.servers.errors import ServerFailedError
from tools.servers.firestore import FirestoreClient, FirestoreEngine, find_firestore
from tools.servers.homes import account, give, new_home
from tools.servers.installation import Installation
from tools.servers.keeping import Keeper
from tools.servers.mariadb import MariadbClient, MariadbEngine, find_mariadb
from tools.servers.pgbouncer import PgbouncerEngine, find_pgbouncer
from tools.servers.postgresql import PostgresqlClient, PostgresqlEngine, find_postgresql
from tools.servers.process import ServerProcess
from tools.servers.server import Server


@contextmanager
def running_postgresql(*, durable: bool = False, own: bool = False) -> Iterator[Server]:
    """Yield a PostgreSQL that answers: the one that the environment names, or one that ends with the block.

    Args:
        durable: A commit outlives a crash of the machine; a server that the environment names is used as it is.
        own: Start one even if the environment names one, so that it can be stopped.

    Raises:
        ServerMissingError: This machine has none.
        ServerFailedError: It does not answer in time.
    """
    if given := _given(PostgresqlClient(), own=own):
        yield given
        return
    with running(PostgresqlEngine, find_postgresql(path=os.environ["PATH"]), durable=durable) as server:
        yield server


@contextmanager
def running_mariadb(*, durable: bool = False, own: bool = False) -> Iterator[Server]:
    """Yield a MariaDB that answers: the one that the environment names, or one that ends with the block.

    Args:
        durable: A commit outlives a crash of the machine; a server that the environment names is used as it is.
        own: Start one even if the environment names one, so that it can be stopped.

    Raises:
        ServerMissingError: This machine has none, and no package can be had.
        ServerFailedError: It does not answer in time.
    """
    if given := _given(MariadbClient(), own=own):
        yield given
        return
    with running(MariadbEngine, find_mariadb(path=os.environ["PATH"]), durable=durable) as server:
        yield server


@contextmanager
def running_firestore(*, own: bool = False) -> Iterator[Server]:
    """Yield a Firestore emulator that answers: the one that the environment names, or one that ends with the block.

    It is for tests only and keeps nothing over a restart.

    Args:
        own: Start one even if the environment names one, so that it can be stopped.

    Raises:
        ServerMissingError: This machine has none.
        ServerFailedError: It does not answer in time.
    """
    if given := _given(FirestoreClient(), own=own):
        yield given
        return
    emulator = find_firestore(path=os.environ["PATH"])

    def engine(java: Installation) -> Engine:
        return FirestoreEngine(java, jar=emulator.jar)

    with running(engine, emulator.java, durable=False) as server:
        yield server


@contextmanager
def running_pgbouncer(server: str, *, pool_size: int) -> Iterator[Server]:
    """Yield a pgbouncer in transaction mode in front of a PostgreSQL; it ends with the block.

    Args:
        server: The URL of the PostgreSQL.
        pool_size: How many connections to it all clients of one user share.

    Raises:
        ServerMissingError: This machine has none, and no package can be had.
        ServerFailedError: It does not answer in time.
    """

    def engine(installation: Installation) -> Engine:
        return PgbouncerEngine(installation, server=server, pool_size=pool_size)

    with running(engine, find_pgbouncer(path=os.environ["PATH"]), durable=False) as pooler:
        yield pooler


@contextmanager
def running(
    engine_of: Callable[[Installation], Engine], installation: Installation, *, durable: bool
) -> Iterator[Server]:
    """Yield a new server of our own, from programs that were found.

    Raises:
        ServerFailedError: It does not answer in time.
    """
    engine = engine_of(installation)
    client, who, here = engine.client, account(), installation.reachable(account())
    home = new_home(client.name, durable=durable, executable=not here, who=who)
    with Keeper(client.name, home, who) as keeper:
        if not here:
            engine = engine_of(installation.copied(home / "programs"))
        process = ServerProcess(engine, home=home, keeper=keeper, durable=durable)
        preparation = engine.preparation(home)
        give(home, who)
        yield Server(client, process.create(preparation), process)


def _given(client: Client, *, own: bool) -> Server | None:
    url = os.environ.get(client.variable)
    if not url or own:
        return None
    if reason := client.knock(url):
        raise ServerFailedError(client.name, f"at the URL in {client.variable} does not answer: {reason}")
    return Server(client, url)
