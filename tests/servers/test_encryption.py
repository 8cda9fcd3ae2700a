"""Connections over TLS: to whom they are made, and to whom not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from oncetask import StoreError, TaskFilter, TaskManager
from oncetask_sql.__main__ import main
from tests.asynchronous import asynchronous
from tests.mariadb.world import needs_server as needs_mariadb
from tests.postgresql.world import needs_server as needs_postgresql
from tests.servers.encrypting import AUTHORITY, encrypted_mariadb, encrypted_postgresql
from tests.worker.world import Job


class Encrypted(NamedTuple):
    """A server that wants TLS, and how its URL names certificates."""

    url: str
    plain: str
    trusting: str
    hint: str

    def trusts(self, authority: Path, *, host: str = "127.0.0.1") -> str:
        """Return the URL of who trusts an authority."""
        return self.url.replace("127.0.0.1", host) + self.trusting.format(authority)


SERVERS = [
    pytest.param(
        (encrypted_postgresql, "?sslmode=disable", "?sslmode=verify-full&sslrootcert={}", "no encryption"),
        id="postgresql",
        marks=needs_postgresql,
    ),
    pytest.param((encrypted_mariadb, "", "?tls_ca={}", "tls_ca"), id="mariadb", marks=needs_mariadb),
]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Encrypted]:
    """Return a server that takes encrypted connections alone."""
    running, *names = request.param
    with running() as own:
        yield Encrypted(own.url, *names)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificate of who has signed the servers' ones."""
    path = tmp_path_factory.mktemp("certificates") / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


@asynchronous
async def test_a_store_speaks_tls(server: Encrypted, authority: Path) -> None:
    """Tables are made, tasks created and run over connections that the server would refuse otherwise."""
    url = server.trusts(authority)
    manager = TaskManager(url)
    manager.register_task_handler(Job, lambda task: task.id)
    assert await asyncio.to_thread(main, ["migrate", url]) == 0
    await manager.create_tasks([Job("a"), Job("b")])
    await manager.drain()

    assert await manager.count_tasks(TaskFilter(live=False)) == 2
    await manager.close()


async def refusal(url: str) -> str:
    """Return what a store of this URL says instead of opening."""
    manager = TaskManager(url)
    with pytest.raises(StoreError) as refused:
        await manager.count_tasks()
    await manager.close()
    return str(refused.value)


@asynchronous
async def test_whoever_does_not_speak_tls_is_told_so(server: Encrypted) -> None:
    """By the server, or, where that says no more than that it refuses, by us."""
    assert server.hint in await refusal(server.url + server.plain)


@asynchronous
async def test_a_server_whose_certificate_somebody_else_has_signed_is_not_spoken_to(
    server: Encrypted, tmp_path: Path
) -> None:
    """It may be anybody's."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    assert "certificate verify failed" in await refusal(server.trusts(tmp_path / "other.pem"))


@asynchronous
async def test_a_server_whose_certificate_is_for_another_name_is_not_spoken_to(
    server: Encrypted, authority: Path
) -> None:
    """Whoever is trusted has signed it, but not for this server."""
    message = await refusal(server.trusts(authority, host="localhost"))

    assert "localhost" in message
    assert "mismatch" in message or "does not match" in message
