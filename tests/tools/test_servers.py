"""Servers for the tests: they answer, keep what was committed, and are gone when their runner is, however it ended."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import psycopg
import pymysql
import pytest

from tests.tools.waiting import eventually
from tools.commands import ToolError
from tools.project import ROOT
from tools.servers import (
    GivenServerError,
    Server,
    ServerFailedError,
    ServerMissingError,
    running_mariadb,
    running_postgresql,
)
from tools.servers.homes import Account, in_memory, new_home, reachable
from tools.servers.installation import BrokenError, Installation
from tools.servers.mariadb import MariadbClient, find_mariadb
from tools.servers.pgbouncer import find_pgbouncer
from tools.servers.ports import LOOPBACK, free_ports, is_free
from tools.servers.postgresql import PostgresqlClient, PostgresqlEngine, find_postgresql
from tools.servers.running import running

NOBODY = Account(65534, 65534)
RUNNER = """
import os, signal, sys
from tools.servers import running_mariadb, running_postgresql
with {running}(own=True) as server:
    if {forks} and (child := os.fork()) == 0:
        signal.pause()
    print(server.url, child if {forks} else 0, flush=True)
    signal.pause()
"""


class Kind(NamedTuple):
    """One kind of server, and what its own SQL is for what we ask."""

    running: Callable[..., AbstractContextManager[Server]]
    variable: str
    folder: str
    durable: str

    @property
    def name(self) -> str:
        """The function that starts it."""
        return self.running.__name__


POSTGRESQL = Kind(
    running_postgresql, PostgresqlClient.variable, "SHOW data_directory", "SELECT current_setting('fsync') = 'on'"
)
MARIADB = Kind(
    running_mariadb, MariadbClient.variable, "SELECT @@datadir", "SELECT @@innodb_flush_log_at_trx_commit = 1"
)
KINDS = pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB], ids=["postgresql", "mariadb"])


def opened(stack: ExitStack, kind: Kind, *, durable: bool = False) -> Server:
    """Return a server of our own; a machine without one skips, and a server that fails is a failure."""
    try:
        return stack.enter_context(kind.running(own=True, durable=durable))
    except ServerMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[Kind], Server]]:
    """Servers that the tests of this module share, each started by the first test that asks for it."""
    with ExitStack() as stack:
        found: dict[str, Server] = {}

        def server(kind: Kind) -> Server:
            if kind.name not in found:
                found[kind.name] = opened(stack, kind)
            return found[kind.name]

        yield server


Servers = Callable[[Kind], Server]


@contextmanager
def connected(url: str) -> Iterator[Callable[[str], list[tuple[object, ...]]]]:
    """Yield a function that executes a statement, commits it, and returns its rows."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url, autocommit=True) as connection:

            def execute(statement: str) -> list[tuple[object, ...]]:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []

            yield execute
        return
    user, _, rest = url.removeprefix("mysql://").partition("@")
    address, _, database = rest.partition("/")
    port = int(address.removeprefix(f"{LOOPBACK}:"))
    other = pymysql.connect(
        host=LOOPBACK, port=port, user=user, database=database, autocommit=True, ssl_disabled=True
    )  # with TLS it reads all authorities that the system trusts, for 20 ms
    with closing(other):

        def execute_there(statement: str) -> list[tuple[object, ...]]:
            with other.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())

        yield execute_there


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    """Return what one statement says."""
    with connected(url) as execute:
        return execute(statement)


def home_of(server_url: str, kind: Kind) -> Path:
    """Return the folder that holds the server's data."""
    return Path(str(rows(server_url, kind.folder)[0][0])).parent


def port_of(url: str) -> int:
    """Return the port in a URL."""
    return int(url.rpartition(":")[2].partition("/")[0])


@KINDS
class TestUse:
    """What a test does with a server."""

    def test_it_answers(self, kind: Kind, servers: Servers) -> None:
        """The URL leads to a database."""
        assert rows(servers(kind).url, "SELECT 40 + 2") == [(42,)]

    def test_databases_are_apart(self, kind: Kind, servers: Servers) -> None:
        """What is in one is not in another."""
        one, other = servers(kind).create_database("one"), servers(kind).create_database("other")
        rows(one, "CREATE TABLE t (a INT)")
        rows(other, "CREATE TABLE t (a INT)")
        rows(one, "INSERT INTO t VALUES (1)")

        assert rows(one, "SELECT a FROM t") == [(1,)]
        assert rows(other, "SELECT a FROM t") == []

    def test_a_database_of_the_same_name_is_empty_again(self, kind: Kind, servers: Servers) -> None:
        """Even while somebody is connected to the old one."""
        url = servers(kind).create_database('odd "name` ü')
        plain = servers(kind).create_database("again")
        rows(plain, "CREATE TABLE t (a INT)")
        with connected(plain):
            again = servers(kind).create_database("again")

        assert again == plain
        rows(again, "CREATE TABLE t (a INT)")
        assert url.endswith("/odd%20%22name%60%20%C3%BC")

    @pytest.mark.parametrize("immediate", [False, True])
    def test_a_restart_keeps_what_was_committed(self, kind: Kind, servers: Servers, *, immediate: bool) -> None:
        """On the same port, after a stop in order and after a crash, even without durability."""
        url = servers(kind).create_database("kept")
        with connected(url) as execute:
            execute("CREATE TABLE t (a INT)")
            for number in range(100):
                execute(f"INSERT INTO t VALUES ({number})")
            servers(kind).restart(immediate=immediate)

        assert rows(url, "SELECT COUNT(*) FROM t") == [(100,)]

    def test_a_stopped_server_starts_where_it_was(self, kind: Kind, servers: Servers) -> None:
        """While it is down nobody answers; starting and stopping twice changes nothing."""
        server = servers(kind)
        server.stop()
        server.stop()
        down = is_free(port_of(server.url))
        server.start()
        server.start()

        assert down
        assert rows(server.url, "SELECT 1") == [(1,)]

    def test_many_may_connect(self, kind: Kind, servers: Servers) -> None:
        """More at once than either lets in by default."""
        with ExitStack() as stack:
            executing = [stack.enter_context(connected(servers(kind).url)) for _ in range(160)]

            assert executing[-1]("SELECT 1") == [(1,)]

    @pytest.mark.parametrize("durable", [False, True])
    def test_durability_is_real_or_absent(self, kind: Kind, *, durable: bool) -> None:
        """With durability every commit is synced, on a disk."""
        with ExitStack() as stack:
            server = opened(stack, kind, durable=durable)

            assert [bool(value) for value in rows(server.url, kind.durable)[0]] == [durable]
            assert not (durable and in_memory(home_of(server.url, kind)))

    def test_the_environment_names_a_server(
        self, kind: Kind, servers: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is used as it is, it is not ours to stop, and it goes on."""
        url = servers(kind).url
        monkeypatch.setenv(kind.variable, url)
        with kind.running() as given:
            with pytest.raises(GivenServerError, match=kind.variable):
                given.restart()
            made = given.create_database("given")

        assert given.url == url
        assert rows(made, "SELECT 1") == [(1,)]

    def test_a_named_server_that_does_not_answer_is_a_failure(
        self, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It does not count as missing."""
        scheme = "postgresql" if kind is POSTGRESQL else "mysql"
        monkeypatch.setenv(kind.variable, f"{scheme}://somebody@{LOOPBACK}:{next(free_ports())}/nothing")

        with pytest.raises(ServerFailedError, match=f"at the URL in {kind.variable} does not answer"):
            kind.running().__enter__()


@KINDS
class TestEnd:
    """How a server ends."""

    def test_its_data_go_with_it(self, kind: Kind) -> None:
        """After the block nobody answers, and the data are gone."""
        with ExitStack() as stack:
            url = opened(stack, kind).url
            home = home_of(url, kind)
            existed = home.exists()

        assert existed
        assert not home.exists()
        assert is_free(port_of(url))

    @pytest.mark.parametrize("forks", [False, True])
    def test_it_dies_when_its_runner_is_killed(self, kind: Kind, servers: Servers, *, forks: bool) -> None:
        """SIGKILL leaves nothing behind, even if a fork of the runner lives on with all that it had open."""
        servers(kind)  # skips where there is none
        program = RUNNER.format(running=kind.name, forks=forks)
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
            assert runner.stdout is not None
            url, fork = runner.stdout.readline().split()
            home = home_of(url, kind)
            existed = home.exists()
            runner.kill()
            runner.wait()
            try:
                eventually(lambda: is_free(port_of(url)), "the server ends")
                eventually(lambda: not home.exists(), "its data are removed")
            finally:
                if forks:
                    os.kill(int(fork), signal.SIGKILL)

        assert existed


class TestStart:
    """What can go wrong while a server starts."""

    @pytest.fixture
    def installation(self) -> Installation:
        """PostgreSQL's programs."""
        try:
            return find_postgresql(path=os.environ["PATH"])
        except ServerMissingError as error:
            pytest.skip(str(error))

    @KINDS
    def test_a_port_that_is_taken_meanwhile_is_left_to_others(
        self, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next one is tried."""
        with socket.socket() as somebody, ExitStack() as stack:
            somebody.bind((LOOPBACK, 0))
            somebody.listen()
            taken, free = somebody.getsockname()[1], list(islice(free_ports(), 3))
            monkeypatch.setattr("tools.servers.process.free_ports", lambda: iter([taken, taken, *free]))
            server = opened(stack, kind)
            answered = rows(server.url, "SELECT 1")

        assert answered == [(1,)]
        assert port_of(server.url) in free

    def test_a_server_that_does_not_start_shows_its_log(self, installation: Installation) -> None:
        """The error says why."""

        class Misled(PostgresqlEngine):
            def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
                return [*super().command(home, port=port, durable=durable), "--max_connections=none"]

        with pytest.raises(ServerFailedError, match="ended while it started") as caught:
            running(Misled, installation, durable=False).__enter__()

        assert 'invalid value for parameter "max_connections": "none"' in caught.value.log

    def test_a_place_is_asked_for_if_none_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what it has to be like."""
        monkeypatch.setattr("tools.servers.homes.candidates", lambda *, durable: [])

        with pytest.raises(ServerFailedError, match="set TMPDIR to a folder on a disk, with 512 MiB free"):
            new_home("X", durable=True, executable=False, who=None)

    def test_programs_in_a_closed_folder_are_copied_for_another_account(self, tmp_path: Path) -> None:
        """What an account cannot reach is copied to where it can, with nothing else from beside it."""
        for name in ("bin/server", "lib/needed", "more/other"):
            path = tmp_path / "closed" / name
            path.parent.mkdir(parents=True)
            path.touch(mode=0o755)
        (tmp_path / "closed").chmod(0o700)
        installation = Installation(tmp_path / "closed", Path("bin/server"), parts=(Path("bin"), Path("lib")))

        copied = installation.copied(tmp_path / "copy")

        assert not installation.reachable(NOBODY)
        assert installation.reachable(None)
        assert reachable(Path("/usr"), NOBODY)
        assert copied.server.exists()
        assert (tmp_path / "copy" / "lib" / "needed").exists()
        assert not (tmp_path / "copy" / "more").exists()


def program(path: Path, text: str) -> Path:
    """Write a program that prints a text and succeeds, or fails if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}'; test -n '{text}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


class TestMissing:
    """A server that is not to be had."""

    def test_postgresql_names_what_it_looked_for_and_the_ways_out(self, tmp_path: Path) -> None:
        """Each program that will not do is named with its reason."""
        old = program(tmp_path / "9.6" / "bin" / "postgres", "postgres (PostgreSQL) 9.6.24")
        broken = program(tmp_path / "broken" / "bin" / "postgres", "")
        program(tmp_path / "9.6" / "bin" / "initdb", "")
        program(tmp_path / "broken" / "bin" / "initdb", "")

        with pytest.raises(ServerMissingError) as caught:
            find_postgresql(path=str(broken.parent), debian=tmp_path, package="no_such_package")

        _places, *refused = caught.value.looked
        assert refused == [f"{broken} says what it should not: ", f"{old} has version 9, older than 13"]
        assert "set ONCETASK_TEST_POSTGRESQL=" in str(caught.value)

    def test_the_newest_postgresql_of_debian_is_used(self, tmp_path: Path) -> None:
        """Versions are compared as numbers."""
        for version in ("13", "17", "9.6"):
            program(tmp_path / version / "bin" / "postgres", f"postgres (PostgreSQL) {version}")
            program(tmp_path / version / "bin" / "initdb", "")

        found = find_postgresql(path="", debian=tmp_path)

        assert found.server == tmp_path / "17" / "bin" / "postgres"

    def test_mariadb_names_what_it_looked_for_and_the_ways_out(self, tmp_path: Path) -> None:
        """MySQL is another program."""
        mysql = program(tmp_path / "mysqld", "mysqld  Ver 8.4.0 for Linux on x86_64")
        old = program(tmp_path / "old" / "mariadbd", "mariadbd  Ver 10.5.29-MariaDB for Linux")

        def unpacked() -> Path:
            raise ToolError("there is no apt-get")

        with pytest.raises(ServerMissingError) as caught:
            find_mariadb(path=str(tmp_path), folders=[tmp_path / "old"], unpacked=unpacked)

        assert caught.value.looked[1:] == (
            f"{mysql} says what it should not: mysqld  Ver 8.4.0 for Linux on x86_64",
            f"{old} has version 10.5, older than 10.6",
            "Debian's package, which will not do: there is no apt-get",
        )
        assert "set ONCETASK_TEST_MARIADB=" in str(caught.value)

    def test_pgbouncer_names_what_it_looked_for_and_the_ways_out(self, tmp_path: Path) -> None:
        """One that is too old is named, and so is why the package cannot be had."""
        old = program(tmp_path / "old" / "pgbouncer", "PgBouncer 1.9.0")

        def unpacked() -> Path:
            raise ToolError("there is no apt-get")

        with pytest.raises(ServerMissingError) as caught:
            find_pgbouncer(path="", folders=[tmp_path / "old"], unpacked=unpacked)

        assert caught.value.looked[1:] == (
            f"{old} has version 1.9, older than 1.12",
            "Debian's package, which will not do: there is no apt-get",
        )
        assert "install pgbouncer" in str(caught.value)

    def test_an_unpacked_mariadb_that_does_not_start_is_a_failure(self, tmp_path: Path) -> None:
        """It does not count as missing: a skip would hide it."""
        program(tmp_path / "usr" / "sbin" / "mariadbd", "")

        with pytest.raises(BrokenError):
            find_mariadb(path="", folders=[], unpacked=lambda: tmp_path)


class TestCommand:
    """`python -m tools.servers run`."""

    @staticmethod
    def line(source: str, *options: str) -> list[str]:
        """Return the command line that runs a program of Python's among servers."""
        return [sys.executable, "-m", "tools.servers", "run", *options, "--", sys.executable, "-c", source]

    def test_the_command_finds_the_servers_and_its_exit_code_is_passed_on(self, servers: Servers) -> None:
        """Both are up while it runs."""
        servers(POSTGRESQL), servers(MARIADB)  # skips where there is none
        urls = "(os.environ[f'ONCETASK_TEST_{name}'] for name in ('POSTGRESQL', 'MARIADB'))"
        source = f"import os; print(*{urls}); raise SystemExit(7)"
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ONCETASK_TEST_")}

        done = subprocess.run(
            self.line(source, "--postgresql", "--mariadb"),
            cwd=ROOT,
            env=outside,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )

        assert done.returncode == 7
        assert [url.partition(":")[0] for url in done.stdout.split()] == ["postgresql", "mysql"]
        assert all(is_free(port_of(url)) for url in done.stdout.split())

    def test_signals_are_passed_on(self, servers: Servers) -> None:
        """The command decides what a SIGTERM means to it; then the servers end."""
        servers(POSTGRESQL)
        source = (
            "import os, signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(9)); "
            "print(os.environ['ONCETASK_TEST_POSTGRESQL'], flush=True); signal.pause()"
        )
        line = self.line(source, "--postgresql")
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            url = run.stdout.readline().strip()
            run.terminate()
            code = run.wait()

        assert code == 9
        assert is_free(port_of(url)) or os.environ.get(POSTGRESQL.variable) == url

    def test_a_command_that_a_signal_ends_is_told_as_shells_do(
        self, servers: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """128, and the signal's number."""
        monkeypatch.setenv(POSTGRESQL.variable, servers(POSTGRESQL).url)
        source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

        done = subprocess.run(self.line(source, "--postgresql"), cwd=ROOT, check=False)

        assert done.returncode == 128 + signal.SIGKILL

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [(["run", "--postgresql"], "There is no command to run"), (["run", "--", "true"], "No server is named")],
    )
    def test_what_is_left_out_is_asked_for(self, arguments: list[str], says: str) -> None:
        """Before any server starts."""
        done = subprocess.run(
            [sys.executable, "-m", "tools.servers", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )

        assert done.returncode == 1
        assert says in done.stderr
