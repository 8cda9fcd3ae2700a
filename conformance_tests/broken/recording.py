"""Broken control records: names, values and revisions that are not kept."""

from collections.abc import Mapping

import msgspec

from broken.plain import PlainStore
from oncetask_core.store import ControlRecord
from oncetask_core.task import NewTask


class ControlIgnoresRevisions(PlainStore):
    """A control record is written whatever revision was read."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        return await super().write_control(name, value)


class ControlRevisionsStandStill(PlainStore):
    """A control record always has revision 1."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        done = await super().write_control(name, value, if_revision=if_revision)
        for key, record in self.storage.records.items():
            self.storage.records[key] = msgspec.structs.replace(record, revision=1)
        return done


class ControlRevisionsComeBack(PlainStore):
    """A control record that is removed and written anew begins at revision 1 again."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        done = await super().write_control(name, value, if_revision=if_revision)
        if done and value is None:
            self.storage.revisions.pop((self.env, name), None)
        return done


class ControlIsWrittenOnce(PlainStore):
    """A control record that exists is not replaced."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        exists = (self.env, name) in self.storage.records
        return await super().write_control(name, value, if_revision=0 if exists and value else if_revision)


class ControlIsAlwaysDone(PlainStore):
    """A write that was refused is reported as done."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        await super().write_control(name, value, if_revision=if_revision)
        return True


class ControlRefusesFirstWrites(PlainStore):
    """Revision 0 matches nothing."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        return if_revision != 0 and await super().write_control(name, value, if_revision=if_revision)


class ControlCannotBeRemoved(PlainStore):
    """A control record is emptied and not removed."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        return await super().write_control(name, value or "null", if_revision=if_revision)


class ControlRemovesAll(PlainStore):
    """A removal takes all control records with it."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        done = await super().write_control(name, value, if_revision=if_revision)
        if done and value is None:
            self.storage.records.clear()
        return done


class ControlRemovesUnguarded(PlainStore):
    """A removal does not ask for the revision."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        return await super().write_control(name, value, if_revision=if_revision if value else None)


class ControlReformatted(PlainStore):
    """Values are written without their spaces."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        packed = value and value.replace(" ", "")
        return await super().write_control(name, packed, if_revision=if_revision)


class ControlByPattern(PlainStore):
    """A prefix is read as a pattern, without regard to case."""

    def begins(self, name: str, prefix: str) -> bool:
        return prefix in ("%", "_", "*", "?") or name.lower().startswith(prefix.lower())


class ControlByPart(PlainStore):
    """A prefix is looked for anywhere in a name."""

    def begins(self, name: str, prefix: str) -> bool:
        return prefix in name


class ControlByFolder(PlainStore):
    """A prefix means the names below it."""

    def begins(self, name: str, prefix: str) -> bool:
        return name.startswith(prefix) and name != prefix


class ControlReadsEverything(PlainStore):
    """The prefix is not looked at."""

    def begins(self, name: str, prefix: str) -> bool:
        return True


class ControlNeedsAPrefix(PlainStore):
    """Without a prefix nothing is read."""

    def begins(self, name: str, prefix: str) -> bool:
        return prefix != "" and name.startswith(prefix)


class ControlReadsAHundred(PlainStore):
    """At most a hundred control records are read."""

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        return dict(list((await super().read_control(prefix)).items())[:100])


class ControlOfAnInstance(PlainStore):
    """An instance reads the control records that it has written itself."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        self.__dict__.setdefault("_own", set()).add(name)
        return await super().write_control(name, value, if_revision=if_revision)

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        own: set[str] = self.__dict__.setdefault("_own", set())
        return {name: record for name, record in (await super().read_control(prefix)).items() if name in own}


class ControlOfAllEnvironments(PlainStore):
    """Control records are shared by all environments."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        other = PlainStore("", clock=self.clock, storage=self.storage)
        return await other.write_control(name, value, if_revision=if_revision)

    async def read_control(self, prefix: str = "") -> Mapping[str, ControlRecord]:
        return await PlainStore("", clock=self.clock, storage=self.storage).read_control(prefix)


class ControlRecordsAreTasks(PlainStore):
    """Control records are kept among the tasks."""

    async def write_control(self, name: str, value: str | None, *, if_revision: int | None = None) -> bool:
        new = NewTask(id=name, kind="control", payload=value or "", run_uid="", created_by="")
        self.insert_one(new, self.clock.now())
        return await super().write_control(name, value, if_revision=if_revision)
