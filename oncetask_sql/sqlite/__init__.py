"""SQLite: the statements, and the threads and connections that run them."""
