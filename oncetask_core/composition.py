"""From a URL to a store: adapters announce themselves through the entry points `oncetask.stores`."""

from collections.abc import Callable
from importlib.metadata import entry_points
from urllib.parse import urlsplit, urlunsplit

from oncetask_core.clock import Clock
from oncetask_core.errors import ConfigurationError
from oncetask_core.store import TaskStore

GROUP = "oncetask.stores"
EXTRAS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "firestore": "firestore",
}

StoreFactory = Callable[..., TaskStore]
"""`factory(url, *, env, clock)` returns a store without doing any I/O."""


def store_from_url(url: str, *, env: str, clock: Clock | None) -> TaskStore:
    """Return the store that `url` names; nothing is connected or written yet.

    Raises:
        ConfigurationError: The scheme is unknown, its extra is not installed, or the URL is malformed.
    """
    scheme = url.partition(":")[0] if "://" in url else ""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if scheme not in found:
        raise _unknown(url, scheme, known=sorted(found))
    try:
        factory: StoreFactory = found[scheme].load()
    except ImportError as error:
        raise _missing_extra(url, scheme, reason=str(error)) from error
    return factory(url, env=env, clock=clock)


def _unknown(url: str, scheme: str, *, known: list[str]) -> ConfigurationError:
    if scheme in EXTRAS:
        return _missing_extra(url, scheme, reason="no installed package serves it")
    names = ", ".join(f"{name}://" for name in known)
    return ConfigurationError(
        value=masked(url),
        rule="a store URL begins with the scheme of an installed store",
        remedy=f"Known here: {names}. A file is sqlite:///tasks.db.",
    )


def _missing_extra(url: str, scheme: str, *, reason: str) -> ConfigurationError:
    extra = EXTRAS.get(scheme, scheme)
    return ConfigurationError(
        value=masked(url),
        rule=f"{scheme}:// needs the extra {extra!r} ({reason})",
        remedy=f'Install it: pip install "oncetask[{extra}]".',
    )


def masked(url: str) -> str:
    """Return the URL with its password replaced, for logs and messages."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return url.partition("://")[0] + "://..."
    if not password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{password}@", ":***@")))
