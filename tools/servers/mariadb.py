"""MariaDB: where its programs are, how it is run, how one talks to it."""

import re
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from signal import Signals
from urllib.parse import unquote, urlsplit

import pymysql

from tools.servers.debian import unpacked_mariadb
from tools.servers.engine import Client, Command, with_database
from tools.servers.finding import Program, find
from tools.servers.installation import Installation, Requirement
from tools.servers.ports import LOOPBACK

VARIABLE = "ONCETASK_TEST_MARIADB"
NAMES = ("mariadbd", "mysqld")
FOLDERS = (Path("/usr/sbin"), Path("/usr/libexec"), Path("/usr/local/libexec"))
REQUIREMENT = Requirement(re.compile(r"Ver (\d+)\.(\d+)\.\d+-MariaDB"), oldest=(10, 6))
WAYS = (
    f"set {VARIABLE}=mysql://user:password@host:port/database",
    "install MariaDB 10.6 or newer (Debian's package is `mariadb-server-core`)",
)
SECONDS = 30
"""In which one answers that answers at all, also on a machine with other work."""
DATABASE = "oncetask"
SOCKET = "socket"
FIRST = f"create database {DATABASE};\ncreate database mysql;\nuse mysql;\nset @auth_root_socket=null;\n"
SCRIPTS = ("system_tables", "performance_tables", "system_tables_data", "sys_schema")


class MariadbClient:
    """Talks to MariaDB."""

    name = "MariaDB"
    variable = VARIABLE

    def url(self, port: int) -> str:
        """Return the URL of a server of ours."""
        return f"mysql://root@{LOOPBACK}:{port}/{DATABASE}"

    def knock(self, url: str, *, folder: Path | None = None) -> str:
        """Return why a server does not answer, or nothing."""
        try:
            with _reached(folder) as reached, closing(_connection(url)) as connection:
                connection.connect(reached)
        except (OSError, pymysql.MySQLError) as error:
            return str(error)
        return ""

    def create_database(self, url: str, name: str) -> str:
        """Create an empty database, in place of any of that name."""
        quoted = name.replace("`", "``")
        with closing(_connection(url)) as connection:
            connection.connect()
            connection.cursor().execute(f"CREATE OR REPLACE DATABASE `{quoted}`")
        return with_database(url, name)


def _connection(url: str) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    """Return what connects to a server, to none of its databases."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or LOOPBACK,
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        connect_timeout=SECONDS,
        read_timeout=SECONDS,
        defer_connect=True,
    )


@contextmanager
def _reached(folder: Path | None) -> Iterator[socket.socket | None]:
    """Yield a connection to the socket in a folder: PyMySQL does not close its own when it is refused."""
    if folder is None:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(SECONDS)
        connected.connect(str(folder / SOCKET))
        yield connected


class MariadbEngine:
    """Runs MariaDB. It has no signal for a crash of its own, so a crash is SIGKILL."""

    fast: Signals = signal.SIGTERM
    crash: Signals = signal.SIGKILL

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.client: Client = MariadbClient()

    def preparation(self, home: Path) -> Command:
        """Return the command that makes the system's tables, as `mariadb-install-db` does, and lets root in."""
        (home / "data").mkdir()
        share = shared(self.installation)
        scripts = [script(share, name).read_bytes() for name in SCRIPTS]
        (home / "first.sql").write_bytes(b"\n".join([FIRST.encode(), *scripts]))
        options = ["--bootstrap", "--max-allowed-packet=8M", "--innodb-log-file-size=8M"]
        return Command([*self._line(home, durable=False), *options], home / "first.sql")

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
        """Return the command line; without durability a commit outlives the server, but not the machine."""
        return [
            *self._line(home, durable=durable),
            f"--bind-address={LOOPBACK}",
            f"--port={port}",
            f"--socket={home / SOCKET}",
            f"--pid-file={home / 'pid'}",
            "--skip-name-resolve",
            "--max-connections=500",
            "--character-set-server=utf8mb4",
            f"--innodb-log-file-size={'96M' if durable else '32M'}",
            f"--innodb-flush-log-at-trx-commit={1 if durable else 2}",
        ]

    def _line(self, home: Path, *, durable: bool) -> list[str]:
        share = shared(self.installation)
        return [
            str(self.installation.server),
            "--no-defaults",
            f"--basedir={self.installation.server.parents[1]}",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share / 'charsets'}",
            f"--datadir={home / 'data'}",
            f"--tmpdir={home}",
            "--skip-log-bin",
            "--innodb-buffer-pool-size=64M",
            *([] if durable else ["--innodb-use-native-aio=0", "--debug-no-sync"]),
        ]


def shared(installation: Installation) -> Path:
    """Return the folder with the messages and scripts of an installation: a distribution's, or an archive's."""
    share = installation.server.parents[1] / "share"
    folders = (share / "mariadb", share / "mysql", share)
    return next((folder for folder in folders if (folder / "charsets").exists()), share)


def script(share: Path, name: str) -> Path:
    """Return one of the scripts that make the system's tables; newer versions call them by their own name."""
    newer = share / f"mariadb_{name}.sql"
    return newer if newer.exists() else share / f"mysql_{name}.sql"


PROGRAM = Program(MariadbClient.name, NAMES, Path("usr/sbin/mariadbd"), REQUIREMENT, WAYS)


def find_mariadb(
    *, path: str, folders: Sequence[Path] = FOLDERS, unpacked: Callable[[], Path] = unpacked_mariadb
) -> Installation:
    """Return the first MariaDB that will do: on the PATH, in the system's folders, then Debian's package, unpacked.

    Raises:
        ServerMissingError: There is none.
        BrokenError: The unpacked package does not start.
    """
    return find(PROGRAM, path=path, folders=folders, unpacked=unpacked)
