"""What is wrong with a server, a database or a URL is said before anything is written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from oncetask import ConfigurationError, TaskManager
from oncetask_core.errors import SchemaError, StoreError, StoreUnavailableError
from oncetask_sql.mariadb import open_mariadb
from oncetask_sql.postgresql import open_postgresql
from tests.asynchronous import asynchronous
from tests.servers.places import on_mariadb, on_postgresql
from tests.servers.world import Place, ServerStore
from tests.sql.world import HOUR, a_claim, new_task, settlement

NEWER: Final = "has version 99, and this library knows"
OLDER: Final = "has version 0, and this library needs version 1"
UNKNOWN: Final = "oncetask_task, but no record of their version: "
MISFITS: Final = [
    on_postgresql("INSERT INTO oncetask_migration VALUES (99, 'later')", NEWER),
    on_postgresql("DELETE FROM oncetask_migration", UNKNOWN),
    on_postgresql("DROP TABLE oncetask_migration", UNKNOWN),
    on_postgresql("DROP INDEX oncetask_task_wait", "oncetask_task lacks oncetask_task_wait"),
    on_postgresql("ALTER TABLE oncetask_task DROP COLUMN progress", "oncetask_task lacks progress"),
    on_mariadb("UPDATE oncetask_migration SET version = 99", NEWER),
    on_mariadb("DELETE FROM oncetask_migration", OLDER),
    on_mariadb("DROP INDEX oncetask_task_wait ON oncetask_task", "oncetask_task lacks oncetask_task_wait"),
    on_mariadb("ALTER TABLE oncetask_task DROP COLUMN progress", "oncetask_task lacks progress"),
    on_mariadb("ALTER TABLE oncetask_task MODIFY ready_at BIGINT", "oncetask_task lacks ready_at"),
    on_mariadb("ALTER TABLE oncetask_task COLLATE utf8mb4_bin", "has the collation utf8"),
    on_mariadb(
        "ALTER TABLE oncetask_control DROP PRIMARY KEY, ENGINE = Aria", "oncetask_control is kept by Aria in place of"
    ),
]


async def refusal(store: ServerStore) -> str:
    """Return what opening a store says."""
    with pytest.raises((StoreError, ConfigurationError)) as caught:
        await store.open()
    await store.close()
    return f"{type(caught.value).__name__}: {caught.value}"


@asynchronous
async def test_a_database_without_tables_names_the_command_that_makes_them(place: Place) -> None:
    """Nothing is created behind the administrator's back."""
    empty = place.empty()
    message = await refusal(place.store(empty))

    assert message.startswith("SchemaError: the database of")
    assert f"python -m oncetask_sql migrate {urlsplit(empty).scheme}://" in message


@pytest.mark.parametrize(("place", "change", "message"), MISFITS, indirect=["place"])
@asynchronous
async def test_a_schema_that_does_not_fit_is_refused(change: str, message: str, place: Place) -> None:
    """Older, newer, damaged."""
    place.run(change)

    assert message in await refusal(place.store())


@asynchronous
async def test_a_database_that_does_not_exist_is_named(place: Place) -> None:
    """With the way out."""
    parts = urlsplit(place.url)
    message = await refusal(place.store(f"{parts.scheme}://{parts.netloc}/no_such_database"))

    assert "no_such_database" in message


@pytest.mark.parametrize(
    ("opening", "url"),
    [
        (open_postgresql, "postgresql://someone:topsecret@127.0.0.1:1/none"),
        (open_mariadb, "mysql://someone:topsecret@127.0.0.1:1/none"),
    ],
)
@asynchronous
async def test_a_server_that_is_not_there_can_be_waited_for(opening: Callable[[str], ServerStore], url: str) -> None:
    """The error says so, is one that passes, and gives no password away."""
    with pytest.raises(StoreUnavailableError) as caught:
        await opening(url).open()

    assert url.replace("topsecret", "***") in str(caught.value)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://someone@localhost/jobs?schema=Jobs", "schema of .* is 1 to 40 lower-case letters"),
        ("postgresql://someone@localhost/jobs?table_prefix=a-b", "table_prefix of"),
        ("postgresql://someone@localhost/jobs?pooler=session", "pooler of .* is none or transaction"),
        ("postgresql://someone@localhost/jobs?connect_timeout=0", "connect_timeout of .* is a number of seconds"),
        ("postgresql://someone@localhost/jobs?statement_timeout=soon", "'soon'"),
        ("mysql://someone@localhost/jobs?schema=jobs", "among .*connect_timeout"),
        ("mysql://someone@localhost/jobs?table_prefix=a-b", "table_prefix of"),
        ("mysql://someone@localhost/jobs?connect_timeout=0", "connect_timeout of .* is a number of seconds"),
        ("mysql://someone@localhost/jobs?statement_timeout=soon", "'soon'"),
    ],
)
def test_an_option_of_the_url_that_makes_no_sense_is_refused(url: str, message: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError, match=message):
        TaskManager(url)


@asynchronous
async def test_a_prefix_keeps_installations_apart(place: Place) -> None:
    """Two of them in one place know nothing of each other."""
    url = place.empty()
    more = "&" if "?" in url else "?"
    stores = [place.store(f"{url}{more}table_prefix={prefix}") for prefix in ("mail_", "print_")]
    for store in stores:
        await store.migrate()
        await store.open()
    await stores[0].insert([new_task("a", key="k"), new_task("b", key="k")])
    (task,) = (await stores[0].claim(a_claim("lease"))).tasks
    await stores[0].renew({"lease": HOUR})
    await stores[0].apply([settlement(task)])

    assert [len((await store.get(["a", "b"])).tasks) for store in stores] == [2, 0]
    assert [len((await store.claim(a_claim("lease 2"))).tasks) for store in stores] == [1, 0]
    for store in stores:
        await store.close()


def test_the_command_line_makes_the_schema_and_prints_it(place: Place, tmp_path: Path) -> None:
    """The printed SQL makes the same as the command; repeated, there is nothing left to do."""
    by_command, by_hand = place.empty(), place.empty()

    def migrate(*arguments: str) -> str:
        command = [sys.executable, "-m", "oncetask_sql", "migrate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert migrate(by_command) == "the schema has version 1\n"
    place.run_script(by_hand, migrate(by_hand, "--sql"))
    made = [place.description(url) for url in (by_command, by_hand)]

    assert len(made[0]) > 40
    assert made[0] == made[1]
    assert migrate(by_command, "--sql") == ""
    assert migrate(by_hand) == "the schema has version 1\n"


def test_a_mistake_on_the_command_line_is_explained(tmp_path: Path) -> None:
    """With exit code 2 and without a traceback."""
    command = [sys.executable, "-m", "oncetask_sql", "migrate", "oracle://db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("oncetask_sql: the URL of an SQL store begins with one of")
    assert "'oracle'" in done.stderr
    assert "Traceback" not in done.stderr


@asynchronous
async def test_who_may_not_write_is_told_what_is_lacking(place: Place) -> None:
    """The error of the first write names the way out."""
    with place.reading() as reader:
        async with place.opened(reader) as store:
            with pytest.raises(StoreError, match=rf"denied.*docs/{place.kind}\.md"):
                await store.insert([new_task("a")])


def test_a_schema_error_is_no_outage() -> None:
    """Nobody waits for it to pass."""
    assert not issubclass(SchemaError, StoreUnavailableError)
