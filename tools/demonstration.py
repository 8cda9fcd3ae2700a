"""The demo: `python -m tools.demonstration [PATH] [--store URL] [ARGUMENT ...]`.

A store may also be called by the name of a server that was started around this command: `--store postgresql`. Its
tables are made first, as an administrator would, unless there is nothing to index: then nothing is written.
`--store firestore` is a project of its own on the emulator.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from tools.commands import guarded, run
from tools.servers import firestore, mariadb, postgresql

SERVERS = {"postgresql": postgresql.VARIABLE, "mariadb": mariadb.VARIABLE}
SCHEMES = ("postgresql://", "mysql://")


def with_urls(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the URL of a started server in place of its name."""
    urls = {name: os.environ.get(variable, "") for name, variable in SERVERS.items()}
    urls["firestore"] = f"firestore://demo-{os.getpid()}"
    return [urls.get(text) or text for text in arguments]


def surroundings(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what the clients of an emulator that was started around this command look for."""
    address = variables.get(firestore.VARIABLE)
    return {"FIRESTORE_EMULATOR_HOST": address} if address else {}


def main() -> int:
    """Run the example; return its exit code."""
    arguments = with_urls(sys.argv[1:])
    example = [sys.executable, "-m", "examples.index_files", *arguments]
    for url in arguments:
        if url.startswith(SCHEMES):
            code = run([*example, "--check"]) or run([sys.executable, "-m", "oncetask_sql", "migrate", url])
            if code:
                return code
    return run(example, surroundings(os.environ))


if __name__ == "__main__":
    sys.exit(guarded(main))
