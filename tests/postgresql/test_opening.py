"""What is wrong with a server, a database or a URL is said before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from oncetask import ConfigurationError, TaskManager
from oncetask_core.errors import SchemaError, StoreError, StoreUnavailableError
from oncetask_sql.postgresql import open_postgresql
from tests.asynchronous import asynchronous
from tests.postgresql.world import URL, Schemas, a_role, connected, needs_server, schema_of
from tests.sql.world import new_task

pytestmark = needs_server


async def refusal(url: str) -> str:
    """Return what opening a store says."""
    store = open_postgresql(url)
    with pytest.raises((StoreError, ConfigurationError)) as caught:
        await store.open()
    await store.close()
    return f"{type(caught.value).__name__}: {caught.value}"


@asynchronous
async def test_a_database_without_tables_names_the_command_that_makes_them(schemas: Schemas) -> None:
    """Nothing is created behind the administrator's back."""
    url = schemas.empty()
    message = await refusal(url)

    assert message.startswith("SchemaError: the database of")
    assert "python -m oncetask_sql migrate postgresql://" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("INSERT INTO oncetask_migration VALUES (99, 'later')", "has version 99, and this library knows"),
        ("DELETE FROM oncetask_migration", "has version 0, and this library needs version 1"),
        ("DROP INDEX oncetask_task_wait", "oncetask_task lacks oncetask_task_wait"),
        ("ALTER TABLE oncetask_task DROP COLUMN progress", "oncetask_task lacks progress"),
    ],
)
@asynchronous
async def test_a_schema_that_does_not_fit_is_refused(change: str, message: str, schemas: Schemas) -> None:
    """Older, newer, damaged."""
    url = schemas.new()
    with connected(options=f"-c search_path={schema_of(url)}") as connection:
        connection.execute(change.encode())

    assert message in await refusal(url)


@asynchronous
async def test_a_server_that_is_not_there_can_be_waited_for() -> None:
    """The error says so, and is one that passes."""
    store = open_postgresql("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError, match=r"postgresql://nobody@127\.0\.0\.1:1/none"):
        await store.open()


@asynchronous
async def test_a_database_that_does_not_exist_is_named() -> None:
    """With the way out."""
    message = await refusal(URL.rpartition("/")[0] + "/no_such_database")

    assert "no_such_database" in message


@asynchronous
async def test_a_password_is_in_no_message() -> None:
    """Neither in errors nor in the banner."""
    store = open_postgresql("postgresql://someone:topsecret@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError) as caught:
        await store.open()

    assert "topsecret" not in str(caught.value)
    assert ":***@" in str(caught.value)


@asynchronous
async def test_a_database_in_another_encoding_is_refused() -> None:
    """Texts would be lost in it."""
    with connected() as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        message = await refusal(URL.rpartition("/")[0] + "/latin")
    finally:
        with connected() as connection:
            connection.execute("DROP DATABASE latin WITH (FORCE)")

    assert "'LATIN1'" in message
    assert "ENCODING 'UTF8'" in message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("schema=Jobs", "schema of .* is 1 to 40 lower-case letters"),
        ("table_prefix=a-b", "table_prefix of"),
        ("pooler=session", "pooler of .* is none or transaction"),
        ("connect_timeout=0", "connect_timeout of .* is a number of seconds"),
        ("statement_timeout=soon", "'soon'"),
    ],
)
def test_an_option_of_the_url_that_makes_no_sense_is_refused(query: str, message: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError, match=message):
        TaskManager(f"postgresql://someone@localhost/jobs?{query}")


@asynchronous
async def test_a_prefix_and_a_schema_keep_installations_apart(schemas: Schemas) -> None:
    """Two of them in one schema know nothing of each other."""
    url = schemas.empty()
    stores = [open_postgresql(f"{url}&table_prefix={prefix}") for prefix in ("mail_", "print_")]
    for store in stores:
        await store.migrate()
        await store.open()
    await stores[0].insert([new_task("a")])

    assert [len((await store.get(["a"])).tasks) for store in stores] == [1, 0]
    for store in stores:
        await store.close()


def test_the_command_line_makes_the_schema_and_prints_it(schemas: Schemas, tmp_path: Path) -> None:
    """The printed SQL makes the same as the command; repeated, there is nothing left to do."""
    by_command, by_hand = schemas.empty(), schemas.empty()

    def migrate(*arguments: str) -> str:
        command = [sys.executable, "-m", "oncetask_sql", "migrate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert migrate(by_command) == "the schema has version 1\n"
    script = migrate(by_hand, "--sql")
    with connected() as connection:
        connection.execute(script.encode())
        columns = [
            connection.execute(
                "SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns"
                " WHERE table_schema = %s ORDER BY 1, ordinal_position",
                (schema_of(url),),
            ).fetchall()
            for url in (by_command, by_hand)
        ]

    assert len(columns[0]) > 40
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
async def test_a_role_that_may_not_write_is_told_what_it_lacks(schemas: Schemas) -> None:
    """The error of the first write names the way out."""
    rights = [("SELECT ON ", "oncetask_task, oncetask_migration")]
    with a_role(schemas.new(), rights) as reader:
        store = open_postgresql(reader)
        await store.open()
        with pytest.raises(StoreError, match=r"permission denied.*docs/postgresql\.md"):
            await store.insert([new_task("a")])
        await store.close()


def test_a_schema_error_is_no_outage() -> None:
    """Nobody waits for it to pass."""
    assert not issubclass(SchemaError, StoreUnavailableError)
