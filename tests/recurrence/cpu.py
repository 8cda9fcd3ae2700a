"""How much CPU time one question about a rule may take."""

import sys

CPU_SECONDS = 0.05 if sys.gettrace() is None else 0.25
"""Measuring coverage makes everything some times slower."""
