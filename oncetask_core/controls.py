"""The control records: which kinds are paused, and what workers publish about theirs."""

import logging

import msgspec

from oncetask_core.errors import PayloadError
from oncetask_core.payload import decode_value, encode_value
from oncetask_core.registry import Registry
from oncetask_core.store import ControlRecord, TaskStore

logger = logging.getLogger("oncetask.manager")

PAUSE = "pause/"
KIND = "kind/"


class KindFacts(msgspec.Struct, frozen=True):
    """What everybody may need to know about a kind that they have no handler for."""

    has_cleanup: bool


async def pause(store: TaskStore, kind: str) -> None:
    """Keep every worker from claiming tasks of `kind`, from its next poll on."""
    await store.write_control(PAUSE + kind, "true")


async def resume(store: TaskStore, kind: str) -> None:
    """Let tasks of `kind` be claimed again."""
    await store.write_control(PAUSE + kind, None)


async def paused_kinds(store: TaskStore) -> frozenset[str]:
    """Return the kinds that are paused."""
    return frozenset(name.removeprefix(PAUSE) for name in await store.read_control(PAUSE))


async def publish_kinds(store: TaskStore, registry: Registry) -> None:
    """Tell everybody whether the kinds of `registry` have a clean-up handler; what is unchanged is not written."""
    known = await store.read_control(KIND)
    for handler in registry:
        value = encode_value(KindFacts(handler.rules.has_cleanup), "facts of a kind")
        record = known.get(KIND + handler.kind)
        if record is None or record.value != value:
            await store.write_control(KIND + handler.kind, value)


async def cleanup_by_kind(store: TaskStore, registry: Registry) -> dict[str, bool]:
    """Return whether each known kind has a clean-up handler; a kind that is missing may have one.

    The handlers of this process win over what others published. What cannot be read counts as missing, and is logged.
    """
    known = {handler.kind: handler.rules.has_cleanup for handler in registry}
    for name, record in (await store.read_control(KIND)).items():
        kind = name.removeprefix(KIND)
        if kind not in known:
            facts = _facts(record)
            known |= {} if facts is None else {kind: facts.has_cleanup}
    return known


def _facts(record: ControlRecord) -> KindFacts | None:
    try:
        return decode_value(record.value, KindFacts)
    except PayloadError as error:
        logger.error(  # noqa: TRY400 - the record is at fault, and where it was read says nothing
            "the control record %r cannot be read, so its kind counts as one that may have a clean-up handler (%s). "
            "The next worker that begins to run the kind writes it anew",
            record.name,
            error,
        )
        return None
