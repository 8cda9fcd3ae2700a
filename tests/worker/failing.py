"""A store that fails on purpose: before or after a call reached the real store."""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from oncetask import MemoryStore, StoreUnavailableError, TaskStore
from oncetask_core.errors import StoreError
from oncetask_core.transition import Answer, Atom, Transition, Verdict

Call = Callable[..., Coroutine[Any, Any, Any]]


class FailingStore:
    """Passes everything on to a store, except for the calls that a test lets fail.

    `fail("apply", "after")` lets the next `apply` raise after it was carried out: a lost reply.
    """

    def __init__(self, store: TaskStore) -> None:
        self.real = store
        self._failures: dict[str, list[str]] = {}
        self.calls: Counter[str] = Counter()
        self.lost: list[Any] = []
        """The first arguments of the calls that failed before they took effect."""

    def fail(self, method: str, *when: str) -> None:
        """Let the next calls of `method` fail, each `before` or `after` it took effect, or not at all (`pass`)."""
        self._failures.setdefault(method, []).extend(when)

    def down(self, *methods: str, times: int = 10_000) -> None:
        """Let the methods fail before they take effect, from now on."""
        for method in methods:
            self.fail(method, *["before"] * times)

    def up(self) -> None:
        """Let nothing fail any more."""
        self._failures.clear()

    def plant(self, **methods: Callable[..., Any]) -> None:
        """Put methods in the place of those of the real store."""
        for name, method in methods.items():
            setattr(self.real, name, method)

    def refuse(self, refuses: Callable[[Transition], bool]) -> None:
        """Let the real store refuse for good the transitions for which `refuses` holds."""
        apply = self.real.apply

        async def refuse(atoms: Sequence[Atom]) -> Sequence[Answer]:
            answers: list[Answer] = []
            for atom in atoms:
                if atom.transitions and refuses(atom.transitions[0]):
                    answers.append(Answer(verdict=Verdict.BROKEN, error=StoreError("refused")))
                else:
                    answers.extend(await apply([atom]))
            return answers

        self.plant(apply=refuse)

    @property
    def env(self) -> str:
        return self.real.env

    @property
    def capabilities(self) -> frozenset[str]:
        return self.real.capabilities

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)
        return self._wrapped(name, method) if name in _PORT else method

    def _wrapped(self, name: str, method: Call) -> Call:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            planned = self._failures.get(name)
            when = planned.pop(0) if planned else "pass"
            if when == "before":
                self.lost.extend(args[:1])
                raise StoreUnavailableError(f"{name} failed on purpose before it took effect")
            reply = await method(*args, **kwargs)
            if when == "after":
                raise StoreUnavailableError(f"the reply of {name} was lost on purpose")
            return reply

        return call


class FaultyStore(MemoryStore):
    """A store with a bug that shows when an outcome is written."""

    async def apply(self, atoms: Sequence[Atom]) -> Sequence[Answer]:
        if any("outcome" in transition.patch for atom in atoms for transition in atom.transitions):
            raise TypeError("a bug in the store")
        return await super().apply(atoms)


_PORT = {
    "open", "close", "migrate", "now", "insert", "get", "find", "count", "claim", "apply", "renew", "delete",
    "read_control", "write_control",
}  # fmt: skip
