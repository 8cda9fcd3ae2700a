"""Guarded writes of single tasks, as many as share a form in one statement.

The form of a write is which guards it names and which fields it sets. Forms are few, so each has a statement that
is made once.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from oncetask_core.task import StoreNow
from oncetask_core.transition import Guard, Transition
from oncetask_sql.codec import encode


class Write(NamedTuple):
    """One guarded change of one task."""

    guard: Guard
    transition: Transition | None
    """None deletes the task."""


class Form(NamedTuple):
    """What writes of one statement have in common."""

    deletes: bool
    bumps_revision: bool
    lease: bool
    epoch: bool
    run_out: bool
    revision: bool
    values: tuple[str, ...]
    """The fields that are set to a value."""
    times: tuple[str, ...]
    """The fields that are set to a time relative to the store's."""
    nulls: tuple[str, ...]
    """The fields that are cleared."""

    def given(self) -> Iterator[str]:
        """Yield the names of what `row` returns: the guard's, then `new_` and each field that is set."""
        yield from ("id", "run_uid")
        yield from (name for name in ("lease", "epoch", "revision") if getattr(self, name))
        yield from (f"new_{name}" for name in (*self.values, *self.times))

    def row(self, one: Write, *, now: datetime) -> list[object]:
        """Return the values of a write.

        Args:
            one: A write of this form.
            now: What times that are relative to the store's are counted from.
        """
        guard, transition = one
        row: list[object] = [guard.id, guard.run_uid]
        if self.lease:
            row.append(guard.lease_uid)
        if self.epoch:
            row.append(guard.epoch)
        if self.revision:
            row.append(guard.revision)
        if transition is not None:
            patch = transition.patch
            fields = (*self.values, *self.times)
            row.extend(encode(name, patch[name], now) for name in fields)  # type: ignore[literal-required]  # of Patch
        return row


def change(transition: Transition) -> Write:
    """Return the write of a transition."""
    return Write(transition.guard, transition)


def grouped(writes: Sequence[Write]) -> list[tuple[Form, list[int]]]:
    """Return which writes have which form."""
    forms: dict[Form, list[int]] = {}
    for position, one in enumerate(writes):
        forms.setdefault(_form(one), []).append(position)
    return list(forms.items())


def _form(one: Write) -> Form:
    guard, transition = one
    fields = () if transition is None else transition.patch.items()
    return Form(
        deletes=transition is None,
        bumps_revision=transition is None or transition.bumps_revision,
        lease=guard.lease_uid is not None,
        epoch=guard.lease_uid is not None and guard.epoch is not None,
        run_out=guard.lease_uid is not None and guard.run_out,
        revision=guard.lease_uid is None or guard.revision is not None,
        values=tuple([name for name, value in fields if value is not None and not isinstance(value, StoreNow)]),
        times=tuple([name for name, value in fields if isinstance(value, StoreNow)]),
        nulls=tuple([name for name, value in fields if value is None]),
    )
