"""The core of oncetask: what a task is, how it changes, and the loops that drive it."""
