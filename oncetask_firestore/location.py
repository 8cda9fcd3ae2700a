"""URLs of Firestore databases: `firestore://project/database?ids=verbatim&shared_with_go=true`."""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from oncetask_core.errors import ConfigurationError
from oncetask_firestore.clients import check_database, check_project
from oncetask_firestore.names import Ids, check_ids

DEFAULT_DATABASE: Final = "(default)"


class Location(NamedTuple):
    """A database of a project."""

    project: str
    database: str
    ids: Ids
    shared_with_go: bool = False


def located(url: str) -> Location:
    """Return the location that a URL names; nothing is connected.

    Raises:
        ConfigurationError: The URL is malformed, names what cannot be, or has an option that is unknown.
    """
    parts = urlsplit(url)
    database = unquote(parts.path.removeprefix("/")) or DEFAULT_DATABASE
    if parts.scheme != "firestore" or not parts.netloc or "@" in parts.netloc or "/" in database:
        raise ConfigurationError(
            value=url,
            rule="the URL of a Firestore database names its project, and its database unless that is (default)",
            remedy="Write firestore://project or firestore://project/database; credentials come from the environment.",
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    ids = check_ids(options.pop("ids", "scoped"))
    shared = options.pop("shared_with_go", "false")
    if options or shared not in {"true", "false"}:
        raise ConfigurationError(
            value=", ".join(sorted(options)) or shared,
            rule=f"the options of {url} are ids=scoped|verbatim and shared_with_go=true|false",
            remedy="Leave the others out.",
        )
    project = check_project(unquote(parts.netloc))
    return Location(project, check_database(database), ids, shared_with_go=shared == "true")
