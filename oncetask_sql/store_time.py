"""The store's time: the server's clock, read inside the statement that decides, or an injected one."""

import threading
from datetime import datetime
from typing import Final

from oncetask_core.clock import Clock
from oncetask_sql.times import from_micros, to_micros

INJECTED_NOW: Final = "%(now)s"


class StoreTime:
    """Says what `now` is in statements, and keeps what was handed out from running backwards.

    Args:
        clock: An injected clock; None for the server's own.
        server: The server's time in microseconds, as an expression; it never blocks the use of an index.

    Attributes:
        sql: The store's time in microseconds, as an expression.
    """

    def __init__(self, clock: Clock | None, *, server: str) -> None:
        self._clock = clock
        self.sql = server if clock is None else INJECTED_NOW
        self._latest = 0
        self._lock = threading.Lock()

    @property
    def is_injected(self) -> bool:
        """Whether the time is not the server's."""
        return self._clock is not None

    def parameters(self) -> dict[str, object]:
        """Return what the expression is bound to."""
        return {} if self._clock is None else {"now": self._ratchet(to_micros(self._clock.now()))}

    def seen(self, micros: int) -> datetime:
        """Return a time that the server has answered, at least every time returned before."""
        return from_micros(self._ratchet(micros))

    def _ratchet(self, micros: int) -> int:
        with self._lock:
            self._latest = max(self._latest, micros)
            return self._latest
