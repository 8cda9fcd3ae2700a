"""Stores on PostgreSQL; needs the extra `postgres`."""

from oncetask_sql.postgresql.store import PostgresqlStore, open_postgresql

__all__ = ["PostgresqlStore", "open_postgresql"]
