"""Databases of PostgreSQL that the store refuses."""

import pytest

from oncetask import ConfigurationError
from oncetask_core.errors import SchemaError
from oncetask_sql.postgresql import migrating, open_postgresql
from tests.asynchronous import asynchronous
from tests.postgresql.world import URL, Schemas, connected, needs_server, schema_of

pytestmark = needs_server


@asynchronous
async def test_a_database_in_another_encoding_is_refused() -> None:
    """Texts would be lost in it."""
    with connected() as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    store = open_postgresql(URL.rpartition("/")[0] + "/latin")
    try:
        with pytest.raises(ConfigurationError) as caught:
            await store.open()
    finally:
        await store.close()
        with connected() as connection:
            connection.execute("DROP DATABASE latin WITH (FORCE)")

    assert "'LATIN1'" in str(caught.value)
    assert "ENCODING 'UTF8'" in str(caught.value)


@pytest.mark.parametrize("loss", ["DROP TABLE", "DELETE FROM"])
def test_tables_of_an_unknown_version_are_not_migrated(schemas: Schemas, loss: str) -> None:
    """A migration is whole or leaves nothing, so the record was lost; the message says how to get it back."""
    url = schemas.new()
    record = f"{schema_of(url)}.oncetask_migration"
    with connected() as connection:
        connection.execute(f"{loss} {record}".encode())

    for refused in (migrating.migrate, migrating.pending_script):
        with pytest.raises(SchemaError, match=rf"no record of their version: {record} is missing or empty. Restore"):
            refused(url)
