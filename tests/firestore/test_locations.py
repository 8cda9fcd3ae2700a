"""URLs of Firestore databases, and how a store comes by its clients."""

import sys

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1 import AsyncClient

from oncetask_core.composition import store_from_url
from oncetask_core.errors import ConfigurationError
from oncetask_firestore import FirestoreStore
from oncetask_firestore.clients import new_client, options_of
from oncetask_firestore.location import Location, located
from tests.asynchronous import asynchronous
from tests.firestore.test_faults import a_task
from tests.firestore.world import documents, needs_server, new_project, opened


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "location"),
        [
            ("firestore://shop", Location("shop", "(default)", "scoped")),
            ("firestore://shop/", Location("shop", "(default)", "scoped")),
            ("firestore://example.com:shop/tasks", Location("example.com:shop", "tasks", "scoped")),
            ("firestore://shop/(default)?ids=verbatim", Location("shop", "(default)", "verbatim")),
            ("firestore://shop?shared_with_go=true", Location("shop", "(default)", "scoped", shared_with_go=True)),
        ],
    )
    def test_a_url_names_a_project_and_a_database(self, url: str, location: Location) -> None:
        """The database is the default one unless it is named."""
        assert located(url) == location

    @pytest.mark.parametrize(
        "url", ["firestore://", "firestore:///tasks", "firestore://a/b/c", "firestore://user@shop", "postgresql://shop"]
    )
    def test_a_malformed_url_is_refused(self, url: str) -> None:
        """With an example."""
        with pytest.raises(ConfigurationError, match=r"firestore://project/database"):
            located(url)

    @pytest.mark.parametrize("query", ["id=verbatim", "ids=hashed", "shared_with_go=yes"])
    def test_a_wrong_option_is_refused(self, query: str) -> None:
        """Nothing that is written in a URL is ignored."""
        with pytest.raises(ConfigurationError, match=r"ids"):
            located(f"firestore://shop?{query}")

    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where Google's client is not installed."""
        monkeypatch.setitem(sys.modules, "oncetask_firestore", None)

        with pytest.raises(ConfigurationError, match=r"oncetask\[firestore\]"):
            store_from_url("firestore://shop", env="staging", clock=None)

    def test_the_scheme_is_announced(self) -> None:
        """No I/O is done."""
        store = store_from_url("firestore://shop/tasks", env="staging", clock=None)

        assert isinstance(store, FirestoreStore)
        assert store.env == "staging"


@pytest.mark.parametrize("option", [{"credentials_file": "key.json"}, {"api_key": "k"}, {}])
@asynchronous
async def test_a_client_may_have_its_credentials_from_its_options(
    option: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are used with its other options, and its own are left as they are."""
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    found = (AnonymousCredentials(), "shop")  # type: ignore[no-untyped-call]  # google.auth has no types here
    monkeypatch.setattr(google.auth, "load_credentials_from_file", lambda *_, **__: found)
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: found)
    client = AsyncClient(project="shop", client_options={"api_endpoint": "example.com", **option})
    ours = new_client(options_of(client))

    assert (ours.project, ours._target, ours._credentials) == ("shop", "example.com", client._credentials)
    assert {name: getattr(client._client_options, name) for name in option} == option


@needs_server
class TestClients:
    @asynchronous
    async def test_a_client_of_the_callers_is_left_to_the_caller(self) -> None:
        """Its project, database and credentials are used; it is not closed."""
        project = new_project()
        client = AsyncClient(project=project, database="tasks")
        store = FirestoreStore(client)
        await store.open()
        await store.insert([a_task()])
        await store.close()

        snapshot = await client.collection("onceTasks").document("a").get()

        assert snapshot.exists
        assert await documents(project) == {}
        await client._firestore_api.transport.close()

    @asynchronous
    async def test_an_id_of_another_environment_is_told(self) -> None:
        """Where ids are unique in the collection, as Go has them, a task is not taken for another's."""
        project = new_project()
        async with opened(project, env="DEFAULT") as one, opened(project, env="staging", ids="verbatim") as other:
            await one.insert([a_task()])

            with pytest.raises(Exception, match=r"belongs to environment 'DEFAULT'"):
                await other.insert([a_task()])
            assert dict((await other.get(["a"])).tasks) == {}
