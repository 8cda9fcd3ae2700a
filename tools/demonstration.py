"""The demo: `python -m tools.demonstration [PATH] [--store URL] [ARGUMENT ...]`.

A store may also be called by the name of a server that was started around this command: `--store postgresql`. Its
tables are made first, as an administrator would.
"""

import os
import sys
from collections.abc import Sequence

from tools.commands import guarded, run
from tools.servers import mariadb, postgresql

SERVERS = {"postgresql": postgresql.VARIABLE, "mariadb": mariadb.VARIABLE}
SCHEMES = ("postgresql://", "mysql://")


def with_urls(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the URL of a started server in place of its name."""
    return [os.environ[SERVERS[text]] if text in SERVERS else text for text in arguments]


def main() -> int:
    """Run the example; return its exit code."""
    arguments = with_urls(sys.argv[1:])
    for url in arguments:
        if url.startswith(SCHEMES):
            code = run([sys.executable, "-m", "oncetask_sql", "migrate", url])
            if code:
                return code
    return run([sys.executable, "-m", "examples.index_files", *arguments])


if __name__ == "__main__":
    sys.exit(guarded(main))
