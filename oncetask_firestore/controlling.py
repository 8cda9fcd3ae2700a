"""Control records, in a collection of their own. A removed one leaves its revision behind, so that none comes back."""

from collections.abc import Mapping
from typing import Any, Final

from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.store import ControlRecord
from oncetask_firestore.database import CONTROLS, Database, Raw, Write
from oncetask_firestore.messages import Query
from oncetask_firestore.names import scoped_name
from oncetask_firestore.place import new_mark

TRIES: Final = 20
LAST: Final = "\U0010ffff"


async def read(database: Database, env: str, prefix: str) -> Mapping[str, ControlRecord]:
    """Return the control records whose names begin with a prefix, by name."""
    query = Query(CONTROLS).where(("env", "==", env))
    if prefix:
        query = query.where(("name", ">=", prefix), ("name", "<", prefix + LAST))
    records = [_record(raw) for raw in await database.find(query)]
    return {record.name: record for record in records if record is not None and record.name.startswith(prefix)}


async def write(database: Database, env: str, name: str, value: str | None, *, if_revision: int | None) -> bool:  # noqa: PLR0917 - as the port
    """Write or remove a control record; return whether it was done.

    Raises:
        StoreUnavailableError: Others write it all the time.
        StoreError: What is there cannot be read.
    """
    document = scoped_name(env, name)
    for _ in range(TRIES):
        known = (await database.get([document], CONTROLS)).get(document)
        record = None if known is None else _record(known)
        if if_revision not in {None, 0 if record is None else record.revision}:
            return False
        if record is None and value is None:
            return True
        mark = new_mark()
        revision = 1 if known is None else _revision(known) + (value is not None)
        fields = {"env": env, "name": name, "value": value, "revision": revision, "write": mark}
        written = [Write(CONTROLS, document, fields, known and known.updated)]
        if await database.commit(written, mark=mark) is not None:
            return True
    raise StoreUnavailableError(f"others wrote the control record {name!r} {TRIES} times in between; ask again")


def _record(raw: Raw) -> ControlRecord | None:
    """Return the record, or None where it was removed."""
    value: Any = raw.fields.get("value")
    if value is None:
        return None
    return ControlRecord(name=str(raw.fields.get("name")), value=value, revision=_revision(raw))


def _revision(raw: Raw) -> int:
    revision = raw.fields.get("revision")
    if type(revision) is not int:
        raise StoreError(f"the control record {raw.fields.get('name')!r} cannot be read: its revision is {revision!r}")
    return revision


async def probe(database: Database, env: str) -> None:
    """Read one document, whether or not it is there.

    Raises:
        StoreUnavailableError: Firestore does not answer.
        StoreError: It refuses.
    """
    await database.get([scoped_name(env, "")], CONTROLS)
