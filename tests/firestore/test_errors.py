"""What a new user meets: each error names the value, the rule and the way out, and nothing was written."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import google.auth
import grpc
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from grpc import aio

from oncetask import ConfigurationError, Outcome, TaskManager
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_firestore import FirestoreStore
from tests.asynchronous import SOON, asynchronous
from tests.firestore.test_claiming import new
from tests.firestore.world import ADDRESS, Faults, documents, needs_server, new_project, once, opened
from tests.worker.world import Job

NOWHERE = "127.0.0.1:1"


async def refused(store: str | FirestoreStore) -> Exception:
    """Return the error that both a create and a worker meet."""
    errors = []
    for what in ("create", "run"):
        manager = TaskManager(store)
        manager.register_task_handler(Job, lambda task: None)
        with pytest.raises((ConfigurationError, StoreError)) as caught:
            async with asyncio.timeout(30):
                await (manager.create_task(Job("a")) if what == "create" else manager.run(handle_signals=False))
        errors.append(caught.value)
        await manager.close()
    assert str(errors[0]) == str(errors[1])
    return errors[0]


class TestSettings:
    @asynchronous
    async def test_missing_credentials_are_explained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the ways to get some, for the service and for an emulator."""

        def default(*_: object, **__: object) -> NoReturn:
            missing: Callable[[str], Exception] = DefaultCredentialsError
            raise missing("Your credentials were not found.")

        monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
        monkeypatch.setattr(google.auth, "default", default)
        error = await refused("firestore://shop")

        assert isinstance(error, ConfigurationError)
        assert error.value == "shop"
        for words in (
            "Your credentials were not found",
            "gcloud auth application-default login",
            "FIRESTORE_EMULATOR_HOST",
        ):
            assert words in str(error)

    @asynchronous
    async def test_a_file_without_credentials_is_explained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is named."""
        monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/key.json")

        assert "/no/such/key.json" in str(await refused("firestore://shop"))

    @pytest.mark.parametrize("address", ["", "http://127.0.0.1:8080", "localhost", "127.0.0.1:"])
    @asynchronous
    async def test_a_malformed_address_of_the_emulator_is_explained(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty variable too: Google's client would look for an emulator without an address."""
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        error = await refused("firestore://shop")

        assert isinstance(error, ConfigurationError)
        assert error.value == address
        assert "127.0.0.1:8080, without http://" in str(error)

    @asynchronous
    async def test_an_emulator_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With its address and where that comes from, the project and the database, long before patience ends."""
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", NOWHERE)
        monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 60.0)
        monkeypatch.setattr("oncetask_firestore.controlling.OPENING_SECONDS", 0.0)
        store = FirestoreStore(project="shop", database="tasks")
        with pytest.raises(StoreUnavailableError) as caught:
            async with asyncio.timeout(SOON):
                await store.open()
        await store.close()

        for words in (
            "'shop'",
            "'tasks'",
            NOWHERE,
            "gcloud emulators firestore start",
            "unset FIRESTORE_EMULATOR_HOST",
        ):
            assert words in str(caught.value)

    @pytest.mark.parametrize("project", ["My-Project", "my_project", "my project", "-shop"])
    def test_a_project_that_cannot_be_is_refused(self, project: str) -> None:
        """The emulator would answer each call with an error without a text."""
        with pytest.raises(ConfigurationError, match="lower-case letters, digits and hyphens") as caught:
            TaskManager(f"firestore://{project}")
        assert caught.value.value == project
        with pytest.raises(ConfigurationError, match="not the name"):
            FirestoreStore(project=project)

    @pytest.mark.parametrize("database", ["Tasks", "(tasks)", "my_tasks"])
    def test_a_database_that_cannot_be_is_refused(self, database: str) -> None:
        """The default one is written with its parentheses."""
        with pytest.raises(ConfigurationError, match=r"\(default\)") as caught:
            TaskManager(f"firestore://shop/{database}")
        assert caught.value.value == database
        with pytest.raises(ConfigurationError, match="gcloud firestore databases list"):
            FirestoreStore(project="shop", database=database)


REFUSED = {
    grpc.StatusCode.PERMISSION_DENIED: "roles/datastore.user",
    grpc.StatusCode.UNAUTHENTICATED: "gcloud auth application-default login",
    grpc.StatusCode.NOT_FOUND: "Create the database",
    grpc.StatusCode.FAILED_PRECONDITION: "deploy firestore.indexes.json",
    grpc.StatusCode.INVALID_ARGUMENT: "refused the call",
}


@needs_server
class TestAbsence:
    @asynchronous
    async def test_an_open_store_is_patient(self, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is the first call alone that gives up soon."""
        monkeypatch.setattr("oncetask_firestore.controlling.OPENING_SECONDS", 0.0)
        async with opened(new_project()) as store:
            faults.before = once(grpc.StatusCode.UNAVAILABLE, "BatchGetDocuments")
            assert (await store.get(["a"])).tasks == {}
            assert faults.before("BatchGetDocuments", None) is None, "no call failed"

    @asynchronous
    async def test_a_slow_start_is_waited_for(self, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that is there and takes its time is no wrong address: the first call is as patient as others."""
        monkeypatch.setattr("oncetask_firestore.controlling.OPENING_SECONDS", 0.0)
        faults.before = once(grpc.StatusCode.DEADLINE_EXCEEDED, "BatchGetDocuments")
        async with opened(new_project()):
            assert faults.before("BatchGetDocuments", None) is None, "no call failed"

    @asynchronous
    async def test_credentials_that_have_run_out_are_told_from_a_line_that_is_down(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In gRPC's eyes both are UNAVAILABLE: Google's words are passed on, with the way to new credentials."""

        class Expired(grpc.AuthMetadataPlugin):  # type: ignore[misc]  # grpc has no types
            def __call__(self, *_: object) -> NoReturn:
                expired: Callable[[str], Exception] = RefreshError
                raise expired("invalid_grant: Token has been expired or revoked.")

        channel = grpc.composite_channel_credentials(
            grpc.local_channel_credentials(), grpc.metadata_call_credentials(Expired())
        )
        monkeypatch.setattr("oncetask_firestore.channel.channel_of", lambda _: aio.secure_channel(ADDRESS, channel))
        monkeypatch.setattr("oncetask_firestore.controlling.OPENING_SECONDS", 0.0)
        store = FirestoreStore(project=new_project())
        with pytest.raises(StoreUnavailableError, match="Token has been expired") as caught:
            async with asyncio.timeout(SOON):
                await store.open()
        await store.close()

        assert "gcloud auth application-default login" in str(caught.value)
        assert "Start the emulator" not in str(caught.value)


@needs_server
class TestRefusals:
    @pytest.mark.parametrize("code", REFUSED)
    @asynchronous
    async def test_a_refusal_says_what_to_do(self, code: grpc.StatusCode, faults: Faults) -> None:
        """A create and a worker end with it at once, and name project and database."""
        project = new_project()
        faults.before = lambda _name, _request: code
        error = await refused(f"firestore://{project}")
        faults.before = lambda _name, _request: None

        for words in (project, "(default)", "made up by the test", REFUSED[code]):
            assert words in str(error)
        assert not isinstance(error, StoreUnavailableError)
        assert await documents(project) == {}

    @pytest.mark.parametrize("code", REFUSED)
    @asynchronous
    async def test_a_refusal_of_a_commit_is_not_taken_for_a_race(self, code: grpc.StatusCode, faults: Faults) -> None:
        """A missing database answers a commit as a missing document does."""
        async with opened(new_project()) as store:
            faults.before = lambda _name, _request: code
            with pytest.raises(StoreError) as caught:
                await store.insert([new("a")])
            assert not isinstance(caught.value, StoreUnavailableError)
            assert "made up by the test" in str(caught.value)

    @asynchronous
    async def test_a_missing_index_is_named_by_firestores_own_words(self, faults: Faults) -> None:
        """Google's message holds a link that makes it: it is passed on."""
        async with opened(new_project()) as store:
            faults.before = lambda name, _request: grpc.StatusCode.FAILED_PRECONDITION if name == "RunQuery" else None
            with pytest.raises(StoreError, match=r"made up by the test.*deploy firestore\.indexes\.json"):
                await store.read_control()

    @asynchronous
    async def test_a_used_up_quota_is_no_silence(self, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        """Workers wait for it, and say what for."""
        async with opened(new_project()) as store:
            monkeypatch.setattr("oncetask_firestore.database.PATIENCE_SECONDS", 0.0)
            faults.before = lambda _name, _request: grpc.StatusCode.RESOURCE_EXHAUSTED
            with pytest.raises(StoreUnavailableError, match="a quota is used up") as caught:
                await store.insert([new("a")])
            assert "did not answer" not in str(caught.value)


@needs_server
@asynchronous
async def test_every_id_that_a_task_may_have_is_one_that_firestore_takes() -> None:
    """Slashes, dots, reserved names and the longest ids: each is a task of its own, created, run and found."""
    ids = ["a/b", "a%2Fb", ".", "..", "__a__", "/", "!oncetask:a", "a b", "ä", "x" * 512, "/" * 512]
    project = new_project()
    manager = TaskManager(f"firestore://{project}", poll_interval=0.1)
    manager.register_task_handler(Job, lambda task: task.id)
    assert all(await manager.create_tasks([Job(task_id) for task_id in ids]))
    async with asyncio.timeout(30):
        await manager.drain()
    found = await manager.get_tasks_by_ids(ids)
    await manager.close()

    assert {task.id: task.outcome for task in found.tasks} == dict.fromkeys(ids, Outcome.COMPLETED)
    assert len(await documents(project)) == len(ids)
