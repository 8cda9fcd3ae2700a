"""How long to come back for what somebody else has locked: nobody waits inside the server for it."""

from typing import Final

PAUSES: Final = (0.002, 0.004, 0.008, 0.016, 0.02)
"""Seconds before each further attempt: some 50 ms in all."""
TRIES: Final = 20
"""How often a transaction is begun that the server ended, because another one was in its way."""
