"""The manager for code that blocks."""
