"""A file that is deleted, moved or replaced while it is open: SQLite goes on writing into it, and nobody would know."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from oncetask_core.errors import StoreError
from tests.asynchronous import asynchronous
from tests.sql.world import Space, a_claim, new_task, settlement


def delete(path: Path) -> None:
    """Delete the file and what lies beside it."""
    for beside in path.parent.glob(f"{path.name}*"):
        beside.unlink()


def move_away(path: Path) -> None:
    """Move it within its folder."""
    path.rename(path.with_name("moved.db"))


def restore(path: Path) -> None:
    """Put a copy in its place, as whoever restores a backup does."""
    copy = path.with_name("backup.db")
    shutil.copyfile(path, copy)
    copy.replace(path)


@pytest.mark.parametrize("lose", [delete, move_away, restore])
@asynchronous
async def test_nothing_is_acknowledged_that_nobody_will_read(lose: Callable[[Path], None], space: Space) -> None:
    """No creation, claim or settle; the error names the file and the way out."""
    async with space.opened() as store:
        await store.insert([new_task("a"), new_task("b")])
        (task,) = (await store.claim(a_claim("lease", limit=1))).tasks
        lose(space.path)

        for write in (store.insert([new_task("c")]), store.claim(a_claim("other")), store.apply([settlement(task)])):
            with pytest.raises(StoreError, match=r"deleted, moved or replaced .* nothing was written.*put it back"):
                await write


@asynchronous
async def test_a_file_that_is_back_is_written_again(space: Space) -> None:
    """It is the same one."""
    async with space.opened() as store:
        move_away(space.path)
        with pytest.raises(StoreError, match=str(space.path)):
            await store.insert([new_task("a")])
        space.path.with_name("moved.db").rename(space.path)

        assert (await store.insert([new_task("a")]))[0].created
