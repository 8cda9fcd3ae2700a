"""Records: what a task says about itself."""

import inspect
from datetime import timedelta
from types import ModuleType

import msgspec
import pytest

from oncetask_core import claims, decisions, query, store, transition
from oncetask_core import task as task_module
from oncetask_core.errors import PayloadError
from oncetask_core.task import NewTask, OnceTask, StoreNow, born, order_at, resolve
from tests.core.records import NOW, SECOND, STATES, Task, a_generator, a_task, changed, held


class Letter(msgspec.Struct):
    """A payload."""

    to: str


class LetterReader:
    """Decodes payloads as letters."""

    def read_payload(self, text: str) -> object:
        """Return the letter."""
        return msgspec.json.decode(text, type=Letter)


def test_data_is_plain_where_the_kind_is_unknown() -> None:
    """A task that nobody bound to a kind reads as JSON values."""
    assert a_task().data == {"to": "Ada"}


def test_data_is_typed_where_the_kind_is_known() -> None:
    """A task that is bound to a reader reads as the registered type."""
    assert changed(a_task(), reader=LetterReader()).data == Letter("Ada")


def test_payload_reads_as_any_type_that_fits() -> None:
    """Whoever knows the type can ask for it."""
    assert a_task().read_as(Letter) == Letter("Ada")


def test_payload_that_does_not_fit_says_so() -> None:
    """A wrong type is a payload error, whatever the decoder raised."""
    with pytest.raises(PayloadError):
        a_task().read_as(list[int])


def test_result_reads_as_its_type() -> None:
    """The stored result is decoded on demand."""
    assert a_task(result="[1,2]").result_as(list[int]) == [1, 2]


def test_task_without_result_reads_as_null() -> None:
    """A missing result is JSON null: fine for optional types, an error for others."""
    assert a_task().result_as(type(None)) is None
    with pytest.raises(PayloadError):
        a_task().result_as(int)


def test_attempts_count_the_one_in_progress() -> None:
    """Failures, crashes and the attempt that runs are attempts; a clean-up is not."""
    task = a_task(failures=1, crashes=1)

    assert task.attempts == 2
    assert held(task).attempts == 3
    assert changed(held(task), in_cleanup=True).attempts == 2


def test_only_generators_have_a_rule() -> None:
    """A recurrence makes a generator."""
    assert a_generator().is_generator
    assert not a_task().is_generator


def test_tasks_live_until_their_outcome() -> None:
    """Completed, failed and cancelled tasks are over; every other one lives."""
    over = {name for name, task in STATES.items() if not task.is_live}

    assert over == {"completed", "failed", "cancelled"}


def test_suspect_is_what_a_worker_vanished_with() -> None:
    """One crash is enough."""
    assert a_task(crashes=1).is_suspect
    assert not a_task(failures=5).is_suspect


def test_idempotency_key_belongs_to_the_run() -> None:
    """Attempts share it; a reset, another environment or another id has another one."""
    task = a_task()

    assert task.idempotency_key == held(task).idempotency_key == "TEST/kind/t/run 1"
    assert task.idempotency_key != changed(task, run_uid="run 2").idempotency_key


def test_repr_keeps_the_payload_private() -> None:
    """Logs and tracebacks may show a task; its payload is nobody's business there."""
    assert repr(a_task()) == "OnceTask(id='t', kind='kind', revision=0, outcome=None)"


def test_priority_moves_a_task_ahead_by_minutes() -> None:
    """Each step is worth sixty seconds."""
    assert order_at(NOW, 0) == NOW
    assert order_at(NOW, 10) == NOW - timedelta(minutes=10)
    assert order_at(NOW, -1) == NOW + timedelta(minutes=1)


def test_times_are_absolute_or_the_store_s() -> None:
    """A time that is relative to the store's clock is resolved by it."""
    assert resolve(NOW, NOW + SECOND) == NOW
    assert resolve(StoreNow(), NOW) == NOW
    assert resolve(StoreNow(-SECOND), NOW) == NOW - SECOND


def test_record_needs_no_more_than_its_creator_says() -> None:
    """Everything else has a beginning: nothing counted, nobody holding it, nothing found out."""
    required = {"id", "kind", "env", "payload", "run_uid", "created_by", "created_at", "wait_until", "order_at"}
    task = a_task()

    bare: Task = OnceTask(**{name: getattr(task, name) for name in required})

    assert bare == changed(task, sequence=0)
    assert (bare.queue, bare.priority, bare.epoch, bare.slots_used, bare.settled_by) == ("default", 0, 0, 0, ())


@pytest.mark.parametrize("module", [claims, decisions.ending, decisions.holding, query, store, task_module, transition])
def test_records_are_frozen(module: ModuleType) -> None:
    """Whoever holds a record knows that nobody changes it; fields are named where there is more than one."""
    structs = [value for _, value in inspect.getmembers(module, inspect.isclass) if issubclass(value, msgspec.Struct)]

    assert structs
    assert all(struct.__struct_config__.frozen for struct in structs)


def test_new_task_is_born_pending_and_unseated() -> None:
    """The store adds its time and its number; everything else is as the creator said, or at its beginning."""
    new = NewTask(
        id="t",
        kind="kind",
        payload="{}",
        run_uid="run",
        created_by="call",
        wait_until=StoreNow(SECOND),
        resource_key="key",
        strict_order=True,
        queue="slow",
        priority=2,
        headers={"a": "b"},
        slots_used=4,
        parent_recurrence_id="g",
        occurrence_timestamp=NOW,
    )

    task = born(new, env="TEST", now=NOW, sequence=7)

    assert (task.env, task.created_at, task.sequence) == ("TEST", NOW, 7)
    assert (task.wait_until, task.order_at) == (NOW + SECOND, NOW + SECOND - timedelta(minutes=2))
    assert (task.head_key, task.lease_uid, task.outcome, task.revision) == (None, None, None, 0)
    for name in NewTask.__struct_fields__:
        if name != "wait_until":
            assert getattr(task, name) == getattr(new, name)
