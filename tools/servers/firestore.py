"""Google's Firestore emulator: where it is, how it is run, how one talks to it.

It comes with the Google Cloud SDK and with nothing else. It keeps everything in memory, deleted documents included,
until it ends: a suite that writes for an hour wants a new one. A restart loses what it held.
"""

import http.client
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import Signals
from typing import NamedTuple
from urllib.parse import quote

from tools.servers.engine import Client, Command
from tools.servers.errors import ServerFailedError, ServerMissingError
from tools.servers.homes import account
from tools.servers.installation import Installation, Requirement, UnfitError
from tools.servers.ports import LOOPBACK

NAME = "Firestore emulator"
VARIABLE = "ONCETASK_TEST_FIRESTORE"
JAR = Path("platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
MEMORY = "-Xmx2g"
UP = "Dev App Server is now running"
FOLDERS = (
    Path("/usr/lib/google-cloud-sdk"),
    Path("/usr/share/google-cloud-sdk"),
    Path("/opt") / "google-cloud-sdk",
    Path("/usr/local/share/google-cloud-sdk"),
    Path("/snap/google-cloud-cli/current"),
)
JAVA = Requirement(re.compile(r"(?:openjdk|java) (\d+)"), oldest=(11,))
WAYS = (
    f"set {VARIABLE}=host:port",
    "install it with `gcloud components install cloud-firestore-emulator`, and Java 11 or newer",
    "install Google's package `google-cloud-cli-firestore-emulator`, and Java 11 or newer",
)
SECONDS = 30
"""In which one answers that answers at all, also on a machine with other work."""


class FirestoreClient:
    """Talks to the emulator. What it calls a URL is host:port, as in FIRESTORE_EMULATOR_HOST."""

    name = NAME
    variable = VARIABLE

    def url(self, port: int) -> str:
        """Return the address of an emulator of ours."""
        return f"{LOOPBACK}:{port}"

    def knock(self, url: str, *, folder: Path | None = None) -> str:
        """Return why an emulator does not answer, or nothing; in a folder, it is asked of its log first."""
        if folder is not None and not _says(folder / "server.log", UP):
            return "it is still starting"
        try:
            _ask("GET", url, "/")
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        return ""

    def create_database(self, url: str, name: str) -> str:
        """Empty the default database of a project, and return the URL of a store on it."""
        _ask("DELETE", url, f"/emulator/v1/projects/{quote(name, safe='')}/databases/(default)/documents")
        return f"firestore://{quote(name, safe='')}"


class FirestoreEngine:
    """Runs the emulator in a Java. It has no data to keep, durable or not."""

    fast: Signals = signal.SIGTERM
    crash: Signals = signal.SIGKILL

    def __init__(self, installation: Installation, *, jar: Path) -> None:
        self.installation = installation
        self.client: Client = FirestoreClient()
        self._jar = jar

    def preparation(self, home: Path) -> Command:
        """Return a command that needs to make nothing, having put a jar there that its account cannot read."""
        if not _readable(self._jar):
            self._jar = Path(shutil.copy(self._jar, home))
        return Command([str(self.installation.server), "--version"])

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:  # noqa: ARG002 - it is never durable
        """Return the command line."""
        options = [MEMORY, "-Duser.language=en", f"-Djava.io.tmpdir={home}", "-XX:-UsePerfData"]
        address = ["--host", LOOPBACK, "--port", str(port)]
        return [str(self.installation.server), *options, "-cp", str(self._jar), MAIN, *address]


class Emulator(NamedTuple):
    """What is needed to run it."""

    java: Installation
    jar: Path


def find_firestore(*, path: str, folders: Sequence[Path] = FOLDERS) -> Emulator:
    """Return the first emulator beside `gcloud` on the PATH or in the SDK's usual folders, and a Java to run it.

    Raises:
        ServerMissingError: There is no emulator, or no Java that will do.
    """
    roots = [*_sdk(path), *folders]
    looked = [f"{JAR} beside `gcloud` on the PATH and in {', '.join(str(folder) for folder in folders)}"]
    jar = next((root / JAR for root in roots if (root / JAR).exists()), None)
    if jar is None:
        raise ServerMissingError(NAME, looked=looked, ways=WAYS)
    looked.append("`java` on the PATH")
    for java in _java(path):
        try:
            JAVA.check(java)
        except UnfitError as error:
            looked.append(str(error))
        else:
            return Emulator(java, jar)
    raise ServerMissingError(NAME, looked=looked, ways=WAYS)


def _sdk(path: str) -> Iterator[Path]:
    if found := shutil.which("gcloud", path=path):
        yield Path(found).resolve().parents[1]


def _java(path: str) -> Iterator[Installation]:
    if found := shutil.which("java", path=path):
        program = Path(found).resolve()
        yield Installation(program.parents[1], program.relative_to(program.parents[1]))


def _readable(path: Path) -> bool:
    if account() is None:
        return os.access(path, os.R_OK)
    enterable = all(part.stat().st_mode & 0o001 for part in path.parents)
    return enterable and bool(path.stat().st_mode & 0o004)


def _says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text(encoding="utf-8", errors="replace")


def _ask(method: str, address: str, path: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=SECONDS)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
    finally:
        connection.close()
    if reply.status != http.client.OK:
        raise ServerFailedError(NAME, f"answers {method} {path} with {reply.status}: {text.strip()}")
