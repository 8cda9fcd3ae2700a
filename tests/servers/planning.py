"""What is asked of the plans of statements on each server, and how the statements of an operation are recorded."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, Protocol, TypeVar

from tests.servers.operations import Operation
from tests.servers.world import ServerStore

SentT = TypeVar("SentT")
PlanT = TypeVar("PlanT", bound="Plan")
LATER: Final = {"oncetask_later"}
"""It is empty as a rule and small always; what is read of it skips what others have locked."""


class Plan(Protocol):
    """The plan of one statement."""

    @property
    def walks(self) -> AbstractSet[str]:
        """The tables that are read from end to end."""
        ...

    @property
    def indexes(self) -> AbstractSet[str]:
        """The indexes that are read, without their common beginning."""
        ...


def sent_during(
    opened: AbstractAsyncContextManager[ServerStore],
    recorded: AbstractContextManager[list[SentT]],
    operation: Operation,
) -> list[SentT]:
    """Return what a store sends during an operation."""

    async def run() -> list[SentT]:
        async with opened as store:
            with recorded as sent:
                await operation(store)
        return sent

    return asyncio.run(run())


def walking(plans: Sequence[PlanT]) -> list[PlanT]:
    """Return the plans that read tasks from end to end."""
    return [plan for plan in plans if plan.walks - LATER]


def check_plans(plans: Sequence[Plan], indexes: AbstractSet[str], *, never: AbstractSet[str]) -> None:
    """Fail where tasks are read from end to end, or by an index that was made for something else.

    Args:
        plans: The plans of all statements of an operation.
        indexes: What has to be read among others.
        never: What may only be read where it is among those.
    """
    used: set[str] = set().union(*(plan.indexes for plan in plans))
    assert walking(plans) == [], f"tasks are read from end to end: {walking(plans)}"
    assert not used & (never - indexes), f"{sorted(used & (never - indexes))} are for something else"
    assert indexes <= used, f"{sorted(indexes - used)} are not searched: {plans}"
