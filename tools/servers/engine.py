"""What a kind of server is: how to talk to it, and how to run it."""

from pathlib import Path
from signal import Signals
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from tools.servers.installation import Installation


class Client(Protocol):
    """Talks to servers of one kind."""

    @property
    def name(self) -> str:
        """What people call such a server."""
        ...

    @property
    def variable(self) -> str:
        """The environment variable that may hold the URL of one."""
        ...

    def url(self, port: int) -> str:
        """Return the URL of a server of ours on a port, with a database that it has from the beginning."""
        ...

    def knock(self, url: str, *, folder: Path | None = None) -> str:
        """Return why a server does not answer, or nothing if it does.

        With a folder, ask over the socket in it, where no other server can answer in its place.
        """
        ...

    def create_database(self, url: str, name: str) -> str:
        """Create an empty database on a server, in place of any of that name; return its URL."""
        ...


class Command(NamedTuple):
    """A command line, and the file that it reads as its standard input."""

    line: list[str]
    source: Path | None = None


class Engine(Protocol):
    """Runs servers of one kind from their programs."""

    @property
    def client(self) -> Client:
        """How to talk to them."""
        ...

    @property
    def installation(self) -> Installation:
        """Their programs."""
        ...

    @property
    def fast(self) -> Signals:
        """The signal that ends one in order, without waiting for its clients."""
        ...

    @property
    def crash(self) -> Signals:
        """The signal that ends one as a crash would; it has to recover when it starts again."""
        ...

    def preparation(self, home: Path) -> Command:
        """Return the command that makes new data in a home, having put there what it needs."""
        ...

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
        """Return the command line of a server over the data in a home."""
        ...


def plain(url: str) -> str:
    """Return a URL without the driver that its scheme may name (`postgresql+psycopg`)."""
    parts = urlsplit(url)
    return parts._replace(scheme=parts.scheme.partition("+")[0]).geturl()


def with_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()
