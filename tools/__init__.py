"""What the Makefile runs: environments, suites, stages, and the project's own lint rules."""
