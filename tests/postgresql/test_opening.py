"""Databases of PostgreSQL that the store refuses."""

import pytest

from oncetask import ConfigurationError
from oncetask_sql.postgresql import open_postgresql
from tests.asynchronous import asynchronous
from tests.postgresql.world import URL, connected, needs_server

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
