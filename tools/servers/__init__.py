"""Database servers for tests, demo and benchmarks: found or unpacked, started, and ended with whoever started them.

    with running_postgresql() as server:
        url = server.create_database("one_test")

`python -m tools.servers run --postgresql --mariadb --firestore -- COMMAND` starts them once for all processes of a
command.

A server is looked for in this order: the URL in its environment variable (`ONCETASK_TEST_POSTGRESQL`,
`ONCETASK_TEST_MARIADB`, `ONCETASK_TEST_FIRESTORE`), the programs of this machine, and what a package registry has.
`homes.py` says where the data go, `keeper.py` how a server ends. `running_pgbouncer(server.url, pool_size=3)` puts a
pooler in front of one.
"""

from tools.servers.errors import GivenServerError, ServerFailedError, ServerMissingError
from tools.servers.running import running_firestore, running_mariadb, running_pgbouncer, running_postgresql
from tools.servers.server import Server

__all__ = [
    "GivenServerError",
    "Server",
    "ServerFailedError",
    "ServerMissingError",
    "running_firestore",
    "running_mariadb",
    "running_pgbouncer",
    "running_postgresql",
]
