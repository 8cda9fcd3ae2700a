"""The schema from the command line: `python -m oncetask_sql migrate URL [--sql]`."""

import argparse
import sys
from collections.abc import Sequence

from oncetask_core.errors import OncetaskError
from oncetask_sql import migrations
from oncetask_sql.sqlite import opening
from oncetask_sql.sqlite.location import located


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, or 2 for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m oncetask_sql", description="The schema of oncetask.")
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="bring the schema to this version; safe to repeat")
    migrate.add_argument("url", help="the store, as in sqlite:///tasks.db")
    migrate.add_argument("--sql", action="store_true", help="print the SQL that would be run, and run nothing")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(_migrate(options.url, only_print=options.sql))
    except OncetaskError as error:
        sys.stderr.write(f"oncetask_sql: {error}\n")
        return 2
    return 0


def _migrate(url: str, *, only_print: bool) -> str:
    location = located(url)
    if only_print:
        return opening.pending_script(location)
    opening.migrate(location)
    return f"the schema has version {migrations.LATEST}\n"


if __name__ == "__main__":
    sys.exit(main())
