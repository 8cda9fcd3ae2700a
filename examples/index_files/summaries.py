"""Whether every folder got its summary."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from examples.index_files.tasks import IndexFile, SummarizeFolder
from oncetask import OnceTask, Outcome


def incomplete(tasks: Sequence[OnceTask[object]], created: Collection[str]) -> list[str]:
    """Return the targets of summaries which do not exist, or in which a file is missing that was indexed.

    Args:
        tasks: Every task in the store.
        created: The ids of the folder tasks of this run; summaries of earlier ones may have been removed since.
    """
    indexed: dict[str | None, set[str]] = {}
    for task in tasks:
        if task.kind == IndexFile.kind and task.outcome is Outcome.COMPLETED:
            indexed.setdefault(task.resource_key, set()).add(task.read_as(IndexFile).path)
    summaries = [task.read_as(SummarizeFolder) for task in tasks if task.id in created]
    return sorted(one.target for one in summaries if not _names(Path(one.target)) >= indexed.get(one.folder, set()))


def _names(summary: Path) -> set[str]:
    """Return the names of the files in a summary; none if it cannot be read."""
    try:
        return set(json.loads(summary.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()
