"""A server as those see it who use it."""

from tools.servers.engine import Client
from tools.servers.errors import GivenServerError
from tools.servers.process import ServerProcess


class Server:
    """A database server. The URL that the environment names cannot be started or stopped."""

    def __init__(self, client: Client, url: str, process: ServerProcess | None = None) -> None:
        self.url = url
        """Stays the same over restarts."""
        self._client = client
        self._process = process

    def create_database(self, name: str) -> str:
        """Create an empty database, in place of any of that name, and return its URL."""
        return self._client.create_database(self.url, name)

    def start(self) -> None:
        """Start the server again, with its data, where it was; return when it answers.

        Raises:
            GivenServerError: It is not ours.
            ServerFailedError: It does not answer in time.
        """
        self._ours().start()

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server in order, or as a crash would; connections are cut either way.

        Raises:
            GivenServerError: It is not ours.
            ServerFailedError: It does not end in time, and was killed.
        """
        self._ours().stop(immediate=immediate)

    def restart(self, *, immediate: bool = False) -> None:
        """Stop the server in order, or as a crash would, and start it again; what was committed is there.

        Raises:
            GivenServerError: It is not ours.
            ServerFailedError: It does not end, or does not answer, in time.
        """
        self.stop(immediate=immediate)
        self.start()

    def pause(self) -> None:
        """Let the server do nothing for a while; connections stay, and nobody is told. It has one process.

        Raises:
            GivenServerError: It is not ours.
        """
        self._ours().pause()

    def resume(self) -> None:
        """Let a paused server go on.

        Raises:
            GivenServerError: It is not ours.
        """
        self._ours().resume()

    def _ours(self) -> ServerProcess:
        if self._process is None:
            raise GivenServerError(self._client.name, self._client.variable)
        return self._process
