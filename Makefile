# Needs git, make, and Python 3.11 or newer with venv. Everything is made inside the checkout (.venv, .build);
# outside of it only package caches grow, and temporary files go to a private folder that is removed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

ifeq ($(origin PATH),command line)
$(error PATH is where the shell looks for programs; the demo takes its directory as TREE)
endif

# The first Python that starts, is new enough and has venv; `make PYTHON=... test` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$python" && break; done)
RUN := .venv/bin/python -m

# The servers of the stores, for as long as a command runs; one that cannot be had here is left out, and says so.
AMONG_SQL_SERVERS := $(RUN) tools.servers run --postgresql --mariadb --optional -- $(RUN)
AMONG_SERVERS := $(RUN) tools.servers run --postgresql --mariadb --firestore --optional -- $(RUN)

# What `make demo` indexes, and where it keeps its tasks: by default this project and the standard library, in a new file.
TREE ?=
STORE ?=
# More arguments for pytest, the demo or the benchmarks.
ARGS ?=

.PHONY: help setup demo quick test test-long test-versions check coverage bench lock clean

help: ## say what there is
	@awk -F ':[^#]*## ' '/^[a-z-]+:[^#]*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv with everything that development needs, or bring it up to date
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv starts here: install one, or name it with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -m tools.environment

demo: setup ## index a directory tree with workers of which one is killed (TREE=directory STORE=url|postgresql|mariadb|firestore)
	@$(if $(filter postgresql mariadb firestore,$(STORE)),$(RUN) tools.servers run --$(STORE) -- )$(RUN) tools.demonstration \
		$(if $(TREE),"$(TREE)") $(if $(STORE),--store "$(STORE)") $(ARGS)

quick: setup ## for every commit, within a minute: lint, unit tests, the memory store's conformance
	@$(RUN) tools.check lite
	@$(RUN) tools.suites quick $(ARGS)

test: setup ## all tests, at the numbers of the gate
	@$(AMONG_SERVERS) tools.suites gate $(ARGS)

test-long: setup ## all tests at full numbers, in stages that a cut run resumes (ARGS=fresh starts over)
	@$(AMONG_SQL_SERVERS) tools.stages $(ARGS)

test-versions: setup ## without servers: unit tests, memory, SQLite on each supported Python and the lowest dependencies
	@$(RUN) tools.versions $(ARGS)

check: setup ## format, lint, types, import contracts, pure modules, sizes, text
	@$(RUN) tools.check

coverage: setup ## all tests with branch coverage, and the floors that each part has to reach
	@$(AMONG_SERVERS) tools.coverage_floors

bench: setup ## the figures of docs/performance.md
	@$(RUN) tools.commands benchmarks $(ARGS)

lock: setup ## resolve requirements-dev.lock anew
	@$(RUN) tools.lock

clean: ## remove everything that the targets made
	@rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov .coverage .coverage.* dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
