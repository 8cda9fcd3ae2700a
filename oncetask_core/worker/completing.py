"""Completing a task in a transaction of its handler."""

from collections.abc import Callable

from oncetask_core.decisions import KindRules, Success, conclude
from oncetask_core.errors import ConfigurationError
from oncetask_core.store import CallerTransactions, Decide, TaskStore
from oncetask_core.task import OnceTask


def caller_transactions(store: TaskStore) -> CallerTransactions:
    """Return the part of a store that writes on sessions of the caller.

    Raises:
        ConfigurationError: The store has no such part.
    """
    if "caller_transaction" not in store.capabilities or not isinstance(store, CallerTransactions):
        raise ConfigurationError(
            value=type(store).__name__,
            rule="a session is for stores that take part in the caller's transactions: PostgreSQL's and MariaDB's",
            remedy="Leave out the session, or keep the tasks in the database of your own data.",
        )
    return store


class Completer:
    """Completes tasks of one kind on sessions of their handlers.

    Args:
        store: Where they are.
        rules: Those of the kind when the handlers were called; it may not be served any more when they end.
        chance: Where jitter comes from.
    """

    def __init__(self, store: TaskStore, rules: KindRules, *, chance: Callable[[], float]) -> None:
        self._store = store
        self._rules = rules
        self._chance = chance

    async def complete(self, session: object, task: OnceTask[object], result: str | None) -> None:
        """Complete a task on a session whose statements are awaited."""
        store = caller_transactions(self._store)
        if not store.awaits(session):
            raise _wrong(session, "acomplete_in", "complete_in")
        await store.settle_in(session, task, self._decide(result))

    def complete_now(self, session: object, task: OnceTask[object], result: str | None) -> None:
        """Complete a task on a session in the calling thread."""
        store = caller_transactions(self._store)
        if store.awaits(session):
            raise _wrong(session, "complete_in", "acomplete_in")
        store.settle_in_now(session, task, self._decide(result))

    def _decide(self, result: str | None) -> Decide:
        return lambda task: conclude(task, Success(result), self._rules, chance=self._chance())


def _wrong(session: object, called: str, other: str) -> ConfigurationError:
    return ConfigurationError(
        value=session, rule=f"{called} takes a session of the other kind", remedy=f"Call {other} with this one."
    )
