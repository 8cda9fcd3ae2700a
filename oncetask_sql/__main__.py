"""The schema from the command line: `python -m oncetask_sql migrate URL [--sql]`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from oncetask_core.errors import ConfigurationError, OncetaskError
from oncetask_sql import migrations
from oncetask_sql.sqlite import opening
from oncetask_sql.sqlite.location import located


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, or 2 for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m oncetask_sql", description="The schema of oncetask.")
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="bring the schema to this version; safe to repeat")
    migrate.add_argument("url", help="the store, as in sqlite:///tasks.db or postgresql://user@host/database")
    migrate.add_argument("--sql", action="store_true", help="print the SQL that would be run, and run nothing")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(_migrate(options.url, only_print=options.sql))
    except OncetaskError as error:
        sys.stderr.write(f"oncetask_sql: {error}\n")
        return 2
    return 0


def _migrate(url: str, *, only_print: bool) -> str:
    scheme = urlsplit(url).scheme
    if scheme not in _DIALECTS:
        raise ConfigurationError(
            value=url.partition("://")[0],
            rule=f"the URL of an SQL store begins with one of {', '.join(_DIALECTS)}",
            remedy="For example sqlite:///tasks.db.",
        )
    return _DIALECTS[scheme](url, only_print)


def _migrate_sqlite(url: str, only_print: bool) -> str:  # noqa: FBT001 - one of several of the same form
    location = located(url)
    if only_print:
        return opening.pending_script(location)
    opening.migrate(location)
    return _DONE


def _migrate_postgresql(url: str, only_print: bool) -> str:  # noqa: FBT001 - one of several of the same form
    try:
        from oncetask_sql.postgresql import migrating  # needs an extra that not everybody has
    except ImportError as error:
        raise _missing(url, "postgres", error) from error
    if only_print:
        return migrating.pending_script(url)
    migrating.migrate(url)
    return _DONE


def _migrate_mariadb(url: str, only_print: bool) -> str:  # noqa: FBT001 - one of several of the same form
    try:
        from oncetask_sql.mariadb import migrating  # needs an extra that not everybody has
    except ImportError as error:
        raise _missing(url, "mysql", error) from error
    if only_print:
        return migrating.pending_script(url)
    migrating.migrate(url)
    return _DONE


def _missing(url: str, extra: str, error: ImportError) -> ConfigurationError:
    scheme = url.partition("://")[0]
    return ConfigurationError(
        value=scheme,
        rule=f"{scheme}:// needs the extra {extra!r} ({error})",
        remedy=f'Install it: pip install "oncetask[{extra}]".',
    )


_DONE: Final = f"the schema has version {migrations.LATEST}\n"
_DIALECTS: Final[Mapping[str, Callable[[str, bool], str]]] = {
    "sqlite": _migrate_sqlite,
    "postgresql": _migrate_postgresql,
    "postgres": _migrate_postgresql,
    "mysql": _migrate_mariadb,
    "mariadb": _migrate_mariadb,
}

if __name__ == "__main__":
    sys.exit(main())
