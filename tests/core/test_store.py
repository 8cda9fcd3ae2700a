"""The port: what belongs to it."""

import inspect

from oncetask_core.store import Claimed, Found, TaskStore
from tests.core.records import NOW

VERBS = {
    *("open", "close", "migrate", "now", "insert", "get", "find", "count", "claim", "apply", "renew", "delete"),
    *("read_control", "write_control"),
}


def test_port_is_small() -> None:
    """A third party writes a store in a day: these verbs, an environment and a set of capabilities."""
    methods = {name for name, _ in inspect.getmembers(TaskStore, inspect.iscoroutinefunction)}

    assert methods == VERBS
    assert {name for name, _ in inspect.getmembers(TaskStore, inspect.isdatadescriptor)} >= {"env", "capabilities"}


def test_every_verb_says_what_it_promises() -> None:
    """The docstrings of the port are its contract."""
    assert all(inspect.getdoc(getattr(TaskStore, verb)) for verb in VERBS)


def test_answers_are_readable_by_default() -> None:
    """Nothing unreadable is the ordinary case."""
    assert Found(tasks={}).unreadable == {}
    assert (Claimed(tasks=(), now=NOW).unreadable, Claimed(tasks=(), now=NOW).next_due) == ({}, None)
