"""Stores on SQL databases."""

from oncetask_sql.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
