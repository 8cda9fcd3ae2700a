"""Migrations of MariaDB, which makes tables one by one."""

import asyncio

from oncetask_sql.mariadb import open_mariadb
from tests.asynchronous import asynchronous
from tests.mariadb.world import Databases, needs_server, run

pytestmark = needs_server


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
