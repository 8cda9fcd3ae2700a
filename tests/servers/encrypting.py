"""Servers that are spoken to over TLS alone, but for the socket by which they are started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tools.servers import Server
from tools.servers.engine import Command
from tools.servers.mariadb import MariadbEngine, find_mariadb
from tools.servers.postgresql import PostgresqlEngine, find_postgresql
from tools.servers.running import running

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")
"""Of the servers: for this address, and not for the name `localhost`."""
HBA = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"


def write_certificate(home: Path) -> None:
    """Write what a server shows, and the key that nobody else may read."""
    CERTIFICATE.cert_chain_pems[0].write_to_path(home / "certificate.pem")
    CERTIFICATE.private_key_pem.write_to_path(home / "key.pem")
    (home / "key.pem").chmod(0o600)


class EncryptedPostgresql(PostgresqlEngine):
    """PostgreSQL that refuses what is not encrypted."""

    def preparation(self, home: Path) -> Command:
        write_certificate(home)
        (home / "hba.conf").write_text(HBA, encoding="ascii")
        return super().preparation(home)

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
        files = {"ssl_cert_file": "certificate.pem", "ssl_key_file": "key.pem", "hba_file": "hba.conf"}
        options = [f"--{name}={home / file}" for name, file in files.items()]
        return [*super().command(home, port=port, durable=durable), "--ssl=on", *options]


class EncryptedMariadb(MariadbEngine):
    """MariaDB that refuses what is not encrypted."""

    def preparation(self, home: Path) -> Command:
        write_certificate(home)
        return super().preparation(home)

    def command(self, home: Path, *, port: int, durable: bool) -> list[str]:
        files = {"ssl-cert": "certificate.pem", "ssl-key": "key.pem"}
        options = [f"--{name}={home / file}" for name, file in files.items()]
        return [*super().command(home, port=port, durable=durable), "--require-secure-transport=ON", *options]


@contextmanager
def encrypted_postgresql() -> Iterator[Server]:
    """Yield such a PostgreSQL."""
    with running(EncryptedPostgresql, find_postgresql(path=os.environ["PATH"]), durable=False) as server:
        yield server


@contextmanager
def encrypted_mariadb() -> Iterator[Server]:
    """Yield such a MariaDB."""
    with running(EncryptedMariadb, find_mariadb(path=os.environ["PATH"]), durable=False) as server:
        yield server
