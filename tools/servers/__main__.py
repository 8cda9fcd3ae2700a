"""Servers around a command: all its processes find them in their environment.

    python -m tools.servers run [--postgresql] [--mariadb] [--firestore] [--durable] [--optional] -- COMMAND [...]

Starts the servers that are named, sets ONCETASK_TEST_POSTGRESQL and ONCETASK_TEST_MARIADB to their URLs and
ONCETASK_TEST_FIRESTORE to the emulator's host:port, runs COMMAND and stops them. The exit code is the command's;
signals are passed on to it. With `--optional`, a server that this machine does not have is said, and left out.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from tools.commands import ToolError, guarded
from tools.servers import firestore, mariadb, postgresql
from tools.servers.errors import ServerMissingError
from tools.servers.forwarding import run_forwarding
from tools.servers.running import running_firestore, running_mariadb, running_postgresql
from tools.servers.server import Server

Opening = Callable[[], AbstractContextManager[Server]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command among servers; return its exit code."""
    options, command = _parsed(sys.argv[1:] if arguments is None else arguments)
    wanted: dict[str, Opening] = {}
    if options.postgresql:
        wanted[postgresql.VARIABLE] = lambda: running_postgresql(durable=options.durable)
    if options.mariadb:
        wanted[mariadb.VARIABLE] = lambda: running_mariadb(durable=options.durable)
    if options.firestore:
        wanted[firestore.VARIABLE] = running_firestore
    with ExitStack() as servers:
        urls = {variable: _url(opening, servers, optional=options.optional) for variable, opening in wanted.items()}
        found = {variable: url for variable, url in urls.items() if url}
        return run_forwarding(command, os.environ | found)


def _url(opening: Opening, servers: ExitStack, *, optional: bool) -> str:
    try:
        return servers.enter_context(opening()).url
    except ServerMissingError as error:
        if not optional:
            raise
        print(error, file=sys.stderr)
        return ""


def _parsed(arguments: Sequence[str]) -> tuple[argparse.Namespace, Sequence[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    command = arguments[at + 1 :]
    parser = argparse.ArgumentParser("python -m tools.servers", description="Runs a command among servers.")
    run = parser.add_subparsers(required=True).add_parser("run", help="start servers, run a command, stop them")
    run.add_argument("--postgresql", action="store_true", help="start PostgreSQL")
    run.add_argument("--mariadb", action="store_true", help="start MariaDB")
    run.add_argument("--firestore", action="store_true", help="start Google's Firestore emulator")
    run.add_argument("--durable", action="store_true", help="with real fsync, as for benchmarks")
    run.add_argument("--optional", action="store_true", help="leave out a server that is not to be had here")
    options = parser.parse_args(arguments[:at])
    if not command:
        raise ToolError("There is no command to run: write it after `--`")
    if not (options.postgresql or options.mariadb or options.firestore):
        raise ToolError("No server is named: add --postgresql, --mariadb, --firestore or several of them")
    return options, command


if __name__ == "__main__":
    sys.exit(guarded(main))
