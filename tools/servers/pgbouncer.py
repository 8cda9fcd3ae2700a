"""pgbouncer in front of a PostgreSQL, in transaction mode: where its program is, how it is run."""

import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from urllib.parse import unquote, urlsplit

from tools.servers.debian import unpacked_pgbouncer
from tools.servers.engine import Client, Command, plain
from tools.servers.finding import Program, find
from tools.servers.installation import Installation, Requirement
from tools.servers.ports import LOOPBACK
from tools.servers.postgresql import PostgresqlClient

NAME = "pgbouncer"
FOLDERS = (Path("/usr/sbin"), Path("/usr/local/bin"))
REQUIREMENT = Requirement(re.compile(r"PgBouncer (\d+)\.(\d+)"), oldest=(1, 12))
WAYS = (f"install pgbouncer 1.12 or newer (Debian's package is `{NAME}`)",)
PROGRAM = Program(NAME, (NAME,), Path("usr/sbin") / NAME, REQUIREMENT, WAYS)


class PgbouncerClient(PostgresqlClient):
    """Talks through a pgbouncer to the database that its server's URL names."""

    name = NAME
    variable = ""

    def __init__(self, server: str) -> None:
        self._server = urlsplit(plain(server))

    def url(self, port: int) -> str:
        """Return the URL of the same database, through a pooler of ours."""
        user = self._server.username or ""
        return f"postgresql://{user}@{LOOPBACK}:{port}{self._server.path}"


class PgbouncerEngine:
    """Runs pgbouncer. Its server lets in whoever it let in before; the pooler itself asks nobody for a password."""

    fast: Signals = signal.SIGINT
    crash: Signals = signal.SIGKILL

    def __init__(self, installation: Installation, *, server: str, pool_size: int) -> None:
        self.installation = installation
        self.client: Client = PgbouncerClient(server)
        self._server = urlsplit(plain(server))
        self._pool_size = pool_size

    def preparation(self, home: Path) -> Command:
        """Return a command that needs to make nothing, having put the users there."""
        user, password = unquote(self._server.username or ""), unquote(self._server.password or "")
        (home / "users").write_text(f'"{user}" "{password}"\n', encoding="utf-8")
        return Command([str(self.installation.server), "--version"])

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:  # noqa: ARG002 - it keeps nothing
        """Return the command line, having written the settings of that port."""
        user = unquote(self._server.username or "")
        settings = {
            "listen_addr": LOOPBACK,
            "listen_port": port,
            "unix_socket_dir": home,
            "pool_mode": "transaction",
            "default_pool_size": self._pool_size,
            "max_client_conn": 500,
            "auth_type": "trust",
            "auth_file": home / "users",
            "auth_user": user,
            "auth_query": "SELECT rolname, '' FROM pg_roles WHERE rolname = $1",
            "ignore_startup_parameters": "extra_float_digits",
        }
        place = f"host={self._server.hostname or LOOPBACK} port={self._server.port or 5432}"
        lines = [
            "[databases]",
            f"* = {place}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        (home / "settings.ini").write_text("\n".join([*lines, ""]), encoding="utf-8")
        return [str(self.installation.server), str(home / "settings.ini")]


def find_pgbouncer(
    *, path: str, folders: Sequence[Path] = FOLDERS, unpacked: Callable[[], Path] = unpacked_pgbouncer
) -> Installation:
    """Return the first pgbouncer that will do: on the PATH, in the system's folders, then Debian's package, unpacked.

    Raises:
        ServerMissingError: There is none.
        BrokenError: The unpacked package does not start.
    """
    return find(PROGRAM, path=path, folders=folders, unpacked=unpacked)
