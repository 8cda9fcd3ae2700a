"""Where the tables are: a schema and a prefix, put into statements that are written with the plain names."""

import re
from typing import Final, NamedTuple
from zlib import crc32

PREFIX: Final = "oncetask_"
_RELATION: Final = re.compile(r"\boncetask_(task|later|control|migration|epoch|stripe)\b")
_OTHER: Final = re.compile(r"\boncetask_(task|control)_(\w+)\b")


class Names(NamedTuple):
    """Names of the tables of one installation.

    Attributes:
        schema: The schema; None leaves it to the server's search path.
        prefix: What the names of tables, indexes and of the sequence begin with.
    """

    schema: str | None = None
    prefix: str = PREFIX

    def relation(self, name: str) -> str:
        """Return the name of a table or sequence as it stands in statements."""
        own = f"{self.prefix}{name}"
        return own if self.schema is None else f"{self.schema}.{own}"

    def render(self, sql: str) -> str:
        """Return a statement for these tables; indexes and constraints carry no schema."""
        named = _OTHER.sub(lambda found: f"{self.prefix}{found[1]}_{found[2]}", sql)
        return _RELATION.sub(lambda found: self.relation(found[1]), named)

    @property
    def lock_space(self) -> int:
        """The first half of the numbers of the advisory locks: the same for all who use these tables."""
        return crc32(self.relation("task").encode()) - 2**31
