"""Control records, in a collection of their own. A removed one leaves its revision behind, so that none comes back."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from oncetask_core.errors import StoreUnavailableError
from oncetask_core.store import ControlRecord
from oncetask_firestore.database import CONTROLS, OPENING_SECONDS, Database, Raw, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import new_mark
from oncetask_firestore.values import to_text

logger = logging.getLogger("oncetask.firestore")

TRIES: Final = 20
LAST: Final = "\U0010ffff"


class Controls:
    """The control records of one environment.

    Args:
        env: The environment.
    """

    def __init__(self, env: str) -> None:
        self._env = env
        self._told: set[tuple[str, int]] = set()
        """Which revisions that are no numbers were told: the document's name, and when it was written."""

    async def read(self, database: Database, prefix: str) -> Mapping[str, ControlRecord]:
        """Return the control records whose names begin with a prefix, by name."""
        query = Query(CONTROLS).where(("env", "==", self._env))
        if prefix:
            query = query.where(("name", ">=", prefix), ("name", "<", prefix + LAST))
        records = [self._record(raw) for raw in await database.find(query)]
        return {record.name: record for record in records if record is not None and record.name.startswith(prefix)}

    async def write(self, database: Database, name: str, value: str | None, *, if_revision: int | None) -> bool:
        """Write or remove a control record; return whether it was done.

        Raises:
            StoreUnavailableError: Others write it all the time.
        """
        document = scoped_name(self._env, name)
        for _ in range(TRIES):
            known = (await database.get([document], CONTROLS)).get(document)
            record = None if known is None else self._record(known)
            if if_revision not in {None, 0 if record is None else record.revision}:
                return False
            if record is None and value is None:
                return True
            mark = new_mark()
            revision = 1 if known is None else self._revision(known) + (value is not None)
            fields = {"env": self._env, "name": name, "value": value, "revision": revision, "write": mark}
            written = [Write(CONTROLS, document, fields, known and known.updated)]
            if await database.commit(written, mark=mark) is not None:
                return True
        raise StoreUnavailableError(f"others wrote the control record {name!r} {TRIES} times in between; ask again")

    def _record(self, raw: Raw) -> ControlRecord | None:
        """Return the record, or None where it was removed."""
        value: Any = raw.fields.get("value")
        if value is None:
            return None
        text = value if isinstance(value, str) else to_text(value)
        return ControlRecord(name=str(raw.fields.get("name")), value=text, revision=self._revision(raw))

    def _revision(self, raw: Raw) -> int:
        """Return how often a record was written; where that is no number, one that is higher than any such count."""
        revision = raw.fields.get("revision")
        if type(revision) is int:
            return revision
        self._tell(raw)
        return raw.updated_micros

    def _tell(self, raw: Raw) -> None:
        if (raw.name, raw.updated_micros) in self._told:
            return
        self._told.add((raw.name, raw.updated_micros))
        logger.error(
            "the control record %r holds, but its revision cannot be read: it is a whole number, and %r stands in the "
            "document %r of %s. Until the record is next written it counts as %d; write that number there, or write "
            "the record anew (a pause: by pausing or resuming the kind)",
            raw.fields.get("name"),
            raw.fields.get("revision"),
            raw.name,
            CONTROLS,
            raw.updated_micros,
        )


async def probe(database: Database, env: str) -> None:
    """Read one document, whether or not it is there.

    Raises:
        StoreUnavailableError: Firestore does not answer; where it cannot be reached at all, that is known in seconds.
        StoreError: It refuses.
    """
    await database.get([scoped_name(env, "")], CONTROLS, unmade=OPENING_SECONDS)
