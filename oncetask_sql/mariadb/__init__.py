"""Stores on MariaDB; needs the extra `mysql`."""

from oncetask_sql.mariadb.store import MariadbStore, open_mariadb

__all__ = ["MariadbStore", "open_mariadb"]
