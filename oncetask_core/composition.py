"""From a URL to a store: adapters announce themselves through the entry points `oncetask.stores`."""

from collections.abc import Callable
from importlib.metadata import entry_points
from urllib.parse import urlsplit, urlunsplit

from oncetask_core.clock import Clock
from oncetask_core.env import current_env
from oncetask_core.errors import ConfigurationError
from oncetask_core.limits import check_env
from oncetask_core.store import TaskStore

GROUP = "oncetask.stores"
EXTRAS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "firestore": "firestore",
}

VERBS = ("insert", "get", "find", "count", "claim", "apply", "renew", "delete", "read_control", "write_control")
"""What makes an object a store."""

StoreFactory = Callable[..., TaskStore]
"""`factory(url, *, env, clock)` returns a store without doing any I/O."""


def make_store(store: TaskStore | str, *, env: str | None, clock: Clock | None) -> TaskStore:
    """Return the store that is given, or the one that the URL names.

    Args:
        store: A store, or a URL.
        env: The environment; by default that of the store, for a URL that of this process.
        clock: The time of a store that is made here, where it keeps none of its own.

    Raises:
        ConfigurationError: It is neither, the URL is served by no store, or the store is of another environment.
    """
    if isinstance(store, str):
        return store_from_url(store, env=current_env() if env is None else check_env(env), clock=clock)
    check_store(store, "a manager takes a store or its URL")
    if env is not None and env != store.env:
        raise ConfigurationError(
            value=env,
            rule=f"a store serves one environment, and this one serves {store.env!r}",
            remedy="Leave out env, or make the store for that environment.",
        )
    return store


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


def check_store(store: object, rule: str) -> None:
    """Refuse what is no store.

    Args:
        store: An object with the methods of one; it may be a proxy.
        rule: What is said to whoever gives something else.

    Raises:
        ConfigurationError: It lacks a method, or is the class of a store.
    """
    if not all(hasattr(store, verb) for verb in VERBS):
        raise ConfigurationError(
            value=masked(store) if isinstance(store, str) else store,
            rule=rule,
            remedy='Pass a store such as MemoryStore(); a manager itself takes a URL such as "memory://", too.',
        )
    if isinstance(store, type):
        raise ConfigurationError(
            value=store, rule=rule, remedy=f"You passed the class itself: write {store.__name__}(...)."
        )


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
