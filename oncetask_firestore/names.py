"""Document names: which document of the collection is the task with an id.

The Go library uses the id itself, whatever the environment. So do we in the default environment, or everywhere with
`ids="verbatim"`; else, and for ids that Firestore cannot take, the name says the environment and the id in an escaped
form under a prefix of our own. No two (environment, id) share a name; ids are compared when a document is read.
"""

import hashlib
import re
from typing import Literal, get_args
from urllib.parse import quote

from oncetask_core.env import DEFAULT_ENV
from oncetask_core.errors import ConfigurationError

Ids = Literal["scoped", "verbatim"]

PREFIX = "!oncetask:"
MOST_BYTES = 1500
_RESERVED = re.compile(r"\.|\.\.|__.*__", re.DOTALL)


def check_ids(ids: str) -> Ids:
    """Return the way of naming documents.

    Raises:
        ConfigurationError: There is no such way.
    """
    for known in get_args(Ids):
        if ids == known:
            way: Ids = known
            return way
    raise ConfigurationError(
        value=ids,
        rule="ids are 'scoped' (one per environment) or 'verbatim' (one per collection, as the Go library has them)",
        remedy="Leave it out, unless Go workers share an environment other than DEFAULT.",
    )


def document_name(task_id: str, *, env: str, ids: Ids) -> str:
    """Return the name of the document of a task."""
    if (env == DEFAULT_ENV or ids == "verbatim") and _is_storable(task_id):
        return task_id
    return scoped_name(env, task_id)


def scoped_name(*parts: str) -> str:
    """Return one name for a list of texts; other lists have other names."""
    name = PREFIX + ":".join(_escaped(part) for part in parts)
    if len(name.encode()) <= MOST_BYTES:
        return name
    return f"{PREFIX}#{hashlib.sha256(name.encode()).hexdigest()}"


def _escaped(text: str) -> str:
    return "".join(quote(char, safe="") if char in "%/:#" else char for char in text)


def _is_storable(task_id: str) -> bool:
    return "/" not in task_id and not task_id.startswith(PREFIX) and not _RESERVED.fullmatch(task_id)
