"""How statements are worded for one store: the names of its tables, its time, its environment."""

from functools import lru_cache
from typing import Any

from oncetask_sql.names import Names
from oncetask_sql.store_time import StoreTime


class Wording:
    """Renders statements that are written with plain table names and `:now` for the store's time.

    Args:
        names: The tables.
        time: The store's time.
        env: The environment.
    """

    def __init__(self, names: Names, time: StoreTime, env: str) -> None:
        self.names = names
        self.time = time
        self.env = env
        self.render = lru_cache(maxsize=2048)(self._rendered)

    def parameters(self) -> dict[str, Any]:
        """Return the values that every statement may name."""
        return {"env": self.env, **self.time.parameters()}

    def _rendered(self, sql: str) -> str:
        return self.names.render(sql).replace(":now", self.time.sql)
