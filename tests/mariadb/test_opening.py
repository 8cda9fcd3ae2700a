"""What is wrong with a server, a database or a URL is said before anything is written."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from oncetask import ConfigurationError, TaskManager
from oncetask_core.errors import SchemaError, StoreError, StoreUnavailableError
from oncetask_sql.mariadb import open_mariadb
from tests.asynchronous import asynchronous
from tests.mariadb.world import SERVER, Databases, a_user, needs_server, run
from tests.sql.world import HOUR, a_claim, new_task, settlement

pytestmark = needs_server


async def refusal(url: str) -> str:
    """Return what opening a store says."""
    store = open_mariadb(url)
    with pytest.raises((StoreError, ConfigurationError)) as caught:
        await store.open()
    await store.close()
    return f"{type(caught.value).__name__}: {caught.value}"


@asynchronous
async def test_a_database_without_tables_names_the_command_that_makes_them(databases: Databases) -> None:
    """Nothing is created behind the administrator's back."""
    url = databases.empty()
    message = await refusal(url)

    assert message.startswith("SchemaError: the database of")
    assert "python -m oncetask_sql migrate mysql://" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE oncetask_migration SET version = 99", "has version 99, and this library knows"),
        ("DELETE FROM oncetask_migration", "has version 0, and this library needs version 1"),
        ("DROP INDEX oncetask_task_wait ON oncetask_task", "oncetask_task lacks oncetask_task_wait"),
        ("ALTER TABLE oncetask_task DROP COLUMN progress", "oncetask_task lacks progress"),
        ("ALTER TABLE oncetask_task MODIFY ready_at BIGINT", "oncetask_task lacks ready_at"),
        ("ALTER TABLE oncetask_task COLLATE utf8mb4_bin", "has the collation utf8"),
        ("ALTER TABLE oncetask_control DROP PRIMARY KEY, ENGINE = Aria", "oncetask_control is kept by Aria"),
    ],
)
@asynchronous
async def test_a_schema_that_does_not_fit_is_refused(change: str, message: str, databases: Databases) -> None:
    """Older, newer, damaged."""
    url = databases.new()
    run(url, change)

    assert message in await refusal(url)


@asynchronous
async def test_a_server_that_is_not_there_can_be_waited_for() -> None:
    """The error says so, and is one that passes."""
    store = open_mariadb("mysql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError, match=r"mysql://nobody@127\.0\.0\.1:1/none"):
        await store.open()


@asynchronous
async def test_a_database_that_does_not_exist_is_named() -> None:
    """With the way out."""
    message = await refusal(f"{SERVER}/no_such_database")

    assert "no_such_database" in message


@asynchronous
async def test_a_password_is_in_no_message() -> None:
    """Neither in errors nor in the banner."""
    store = open_mariadb("mysql://someone:topsecret@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError) as caught:
        await store.open()

    assert "topsecret" not in str(caught.value)
    assert ":***@" in str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("schema=jobs", "among .*connect_timeout"),
        ("table_prefix=a-b", "table_prefix of"),
        ("connect_timeout=0", "connect_timeout of .* is a number of seconds"),
        ("statement_timeout=soon", "'soon'"),
    ],
)
def test_an_option_of_the_url_that_makes_no_sense_is_refused(query: str, message: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError, match=message):
        TaskManager(f"mysql://someone@localhost/jobs?{query}")


@asynchronous
async def test_a_prefix_keeps_installations_apart(databases: Databases) -> None:
    """Two of them in one database know nothing of each other."""
    url = databases.empty()
    stores = [open_mariadb(f"{url}?table_prefix={prefix}") for prefix in ("mail_", "print_")]
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


@asynchronous
async def test_a_migration_that_was_cut_off_goes_on(databases: Databases) -> None:
    """Tables are made one by one; what is there is left alone, and what is missing is made."""
    url = databases.new()
    run(url, "DELETE FROM oncetask_migration", "DROP TABLE oncetask_control", "DELETE FROM oncetask_stripe LIMIT 9")
    store = open_mariadb(url)
    await asyncio.gather(store.migrate(), open_mariadb(url).migrate())
    await store.open()
    await store.close()

    assert run(url, "SELECT COUNT(*) FROM oncetask_stripe") == ((512,),)
    assert run(url, "SELECT COUNT(*) FROM oncetask_migration") == ((1,),)


def test_the_command_line_makes_the_schema_and_prints_it(databases: Databases, tmp_path: Path) -> None:
    """The printed SQL makes the same as the command; repeated, there is nothing left to do."""
    by_command, by_hand = databases.empty(), databases.empty()

    def migrate(*arguments: str) -> str:
        command = [sys.executable, "-m", "oncetask_sql", "migrate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert migrate(by_command) == "the schema has version 1\n"
    script = migrate(by_hand, "--sql")
    run(by_hand, *(part for part in script.split(";\n\n") if part))
    columns = [run(url, "SHOW CREATE TABLE oncetask_task") for url in (by_command, by_hand)]

    assert columns[0] == columns[1]
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
async def test_a_user_who_may_not_write_is_told_what_it_lacks(databases: Databases) -> None:
    """The error of the first write names the way out."""
    rights = [("SELECT", "oncetask_task"), ("SELECT", "oncetask_migration"), ("SELECT", "oncetask_control")]
    with a_user(databases.new(), rights) as reader:
        store = open_mariadb(reader)
        await store.open()
        with pytest.raises(StoreError, match=r"denied.*docs/mariadb\.md"):
            await store.insert([new_task("a")])
        await store.close()


def test_a_schema_error_is_no_outage() -> None:
    """Nobody waits for it to pass."""
    assert not issubclass(SchemaError, StoreUnavailableError)
