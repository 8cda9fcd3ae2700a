"""Google's Firestore emulator for the tests: it answers, and is gone when its runner is, however it ended."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.tools.waiting import ENOUGH, eventually
from tools.project import ROOT
from tools.servers import GivenServerError, Server, ServerFailedError, ServerMissingError, running_firestore
from tools.servers.firestore import JAR, VARIABLE, FirestoreClient, FirestoreEngine, find_firestore
from tools.servers.installation import Installation
from tools.servers.ports import LOOPBACK, free_ports, is_free

RUNNER = """
import os, signal
from tools.servers import running_firestore
with running_firestore(own=True) as server:
    if {forks} and (child := os.fork()) == 0:
        signal.pause()
    print(server.url, child if {forks} else 0, flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Server]:
    """One that the tests of this module share; a machine without it skips."""
    try:
        with running_firestore(own=True) as server:
            yield server
    except ServerMissingError as error:
        pytest.skip(str(error))


def written(url: str, project: str) -> int:
    """Write a document of a project, and return the status of the reply."""
    return asked(url, "PATCH", project, body=b'{"fields": {}}')


def asked(url: str, method: str, project: str, *, body: bytes | None = None, within: float = ENOUGH) -> int:
    """Return the status of a request for the document of a project."""
    connection = http.client.HTTPConnection(url, timeout=within)
    path = f"/v1/projects/{project}/databases/(default)/documents/things/one"
    try:
        connection.request(method, path, body, {"Authorization": "Bearer owner", "Content-Type": "application/json"})
        reply = connection.getresponse()
        reply.read()
    finally:
        connection.close()
    return reply.status


def port_of(url: str) -> int:
    """Return the port of an address."""
    return int(url.rpartition(":")[2])


def test_it_keeps_documents_by_project(emulator: Server) -> None:
    """What is in one project is not in another, and a project is emptied by creating it anew."""
    assert written(emulator.url, "one") == 200
    assert asked(emulator.url, "GET", "other") == 404
    assert asked(emulator.url, "GET", "one") == 200

    assert emulator.create_database("one") == "firestore://one"
    assert asked(emulator.url, "GET", "one") == 404


def test_it_can_be_paused(emulator: Server) -> None:
    """Nobody is told, and nothing is lost."""
    assert written(emulator.url, "paused") == 200
    emulator.pause()
    try:
        with pytest.raises(TimeoutError):
            asked(emulator.url, "GET", "paused", within=0.2)
    finally:
        emulator.resume()

    assert asked(emulator.url, "GET", "paused") == 200


def test_the_environment_names_one(emulator: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used as it is, it is not ours to stop, and it goes on."""
    monkeypatch.setenv(VARIABLE, emulator.url)
    with running_firestore() as given, pytest.raises(GivenServerError, match=VARIABLE):
        given.restart()

    assert given.url == emulator.url
    assert FirestoreClient().knock(emulator.url) == ""


def test_a_named_one_that_does_not_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as missing."""
    monkeypatch.setenv(VARIABLE, f"{LOOPBACK}:{next(free_ports())}")

    with pytest.raises(ServerFailedError, match=f"at the URL in {VARIABLE} does not answer"):
        running_firestore().__enter__()


def test_a_reply_that_is_no_success_is_a_failure(emulator: Server) -> None:
    """An emulator that cannot do what it is asked says so."""
    with pytest.raises(ServerFailedError, match="answers DELETE"):
        emulator.create_database("a/b")


def test_a_port_that_is_taken_meanwhile_is_left_to_others(emulator: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it answers there: the emulator of somebody else is not taken for ours."""
    taken, free = port_of(emulator.url), list(islice(free_ports(), 4))
    monkeypatch.setattr("tools.servers.process.free_ports", lambda: iter([taken, *free]))

    with running_firestore(own=True) as server:
        assert port_of(server.url) in free
        assert asked(server.url, "GET", "one") == 404


@pytest.mark.parametrize("forks", [False, True])
def test_it_dies_when_its_runner_is_killed(emulator: Server, *, forks: bool) -> None:
    """SIGKILL leaves nothing behind, even if a fork of the runner lives on with all that it had open."""
    program = RUNNER.format(forks=forks)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        url, fork = runner.stdout.readline().split()
        answered = asked(url, "GET", "one")
        runner.kill()
        runner.wait()
        try:
            eventually(lambda: is_free(port_of(url)), "the emulator ends")
        finally:
            if forks:
                os.kill(int(fork), signal.SIGKILL)

    assert answered == 404


def test_a_command_finds_it_and_its_exit_code_is_passed_on(emulator: Server) -> None:
    """It is up while the command runs, and gone afterwards."""
    source = f"import os; print(os.environ['{VARIABLE}']); raise SystemExit(7)"
    line = [sys.executable, "-m", "tools.servers", "run", "--firestore", "--", sys.executable, "-c", source]
    outside = {name: value for name, value in os.environ.items() if name != VARIABLE}

    done = subprocess.run(line, cwd=ROOT, env=outside, stdout=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 7
    assert done.stdout.strip() != emulator.url
    assert is_free(port_of(done.stdout.strip()))


def test_without_one_a_command_may_go_on(tmp_path: Path) -> None:
    """With `--optional` what is missing is said, with the ways out, and the command runs without it."""
    source = f"import os; print(os.environ.get('{VARIABLE}', 'none'))"
    line = [
        sys.executable,
        "-m",
        "tools.servers",
        "run",
        "--firestore",
        "--optional",
        "--",
        sys.executable,
        "-c",
        source,
    ]
    program = "import sys; from tools.servers import __main__ as m, firestore as f, running as r; "
    program += (
        "r.find_firestore = lambda *, path: f.find_firestore(path='', folders=[]); sys.exit(m.main(sys.argv[1:]))"
    )
    outside = {name: value for name, value in os.environ.items() if name != VARIABLE}

    done = subprocess.run(
        [sys.executable, "-c", program, *line[3:]], cwd=ROOT, env=outside, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.strip()) == (0, "none")
    assert "gcloud components install cloud-firestore-emulator" in done.stderr
    assert f"set {VARIABLE}=host:port" in done.stderr


def java(folder: Path, says: str) -> Path:
    """Write a program called java that introduces itself."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def sdk(folder: Path) -> Path:
    """Make a folder that holds the emulator."""
    jar = folder / JAR
    jar.parent.mkdir(parents=True)
    jar.touch(mode=0o644)
    return folder


class TestFinding:
    """Where it is looked for."""

    def test_the_sdk_of_gcloud_on_the_path_comes_first(self, tmp_path: Path) -> None:
        """Links are followed: packages put one into a folder of programs."""
        root, other = sdk(tmp_path / "sdk"), sdk(tmp_path / "other")
        gcloud = root / "bin" / "gcloud"
        gcloud.parent.mkdir()
        gcloud.touch(mode=0o755)
        program = java(tmp_path / "jvm", "openjdk 17.0.15 2025-04-15")
        (program.parent / "gcloud").symlink_to(gcloud)

        found = find_firestore(path=str(program.parent), folders=[other])

        assert found.jar == root / JAR
        assert found.java.server == program

    @pytest.mark.parametrize("says", ["openjdk 8.0.392 2023-10-17", "something else"])
    def test_a_java_that_will_not_do_is_named(self, tmp_path: Path, says: str) -> None:
        """With its reason."""
        program = java(tmp_path / "jvm", says)

        with pytest.raises(ServerMissingError) as caught:
            find_firestore(path=str(program.parent), folders=[sdk(tmp_path / "sdk")])

        assert str(program) in caught.value.looked[-1]

    def test_a_jar_that_the_account_cannot_read_is_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An SDK in somebody's closed home is used all the same."""
        monkeypatch.setattr("tools.servers.firestore._readable", lambda _: False)
        home = tmp_path / "home"
        home.mkdir()
        installation = Installation(tmp_path, Path("bin/java"))
        engine = FirestoreEngine(installation, jar=sdk(tmp_path / "sdk") / JAR)

        engine.preparation(home)

        assert str(home / JAR.name) in engine.command(home, port=1, durable=False)
        assert (home / JAR.name).exists()
