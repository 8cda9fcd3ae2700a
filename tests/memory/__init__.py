"""The memory store: what it promises beyond the port, and that its indexes change nothing."""
