"""URLs of SQLite files, and the places that are refused."""

from pathlib import Path

import pytest

from oncetask_core.errors import ConfigurationError, InvalidTaskError
from oncetask_sql import SqliteStore, open_sqlite
from oncetask_sql.sqlite.location import located
from oncetask_sql.sqlite.places import MOUNTS, check_place, file_system


class TestUrls:
    """What `sqlite:` URLs name."""

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///tasks.db", "tasks.db"),
            ("sqlite:///data/tasks.db", "data/tasks.db"),
            ("sqlite:////var/lib/tasks.db", "/var/lib/tasks.db"),
            ("sqlite:///my%20tasks%23.db", "my tasks#.db"),
            ("sqlite:///100%25.db?synchronous=normal", "100%.db"),
        ],
    )
    def test_a_url_names_a_file(self, url: str, path: str) -> None:
        """Three slashes begin a relative path, four an absolute one; what is escaped is unescaped."""
        assert located(url).path == Path(path).absolute()

    def test_a_relative_path_is_fixed_when_the_store_is_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A later change of the working directory moves nothing."""
        monkeypatch.chdir(tmp_path)
        location = located("sqlite:///tasks.db")
        monkeypatch.chdir("/")

        assert location.path == tmp_path / "tasks.db"

    def test_options_are_read(self) -> None:
        """Durability and patience can be chosen."""
        location = located("sqlite:///tasks.db?synchronous=NORMAL&busy_timeout=0.5")

        assert (location.synchronous, location.busy_timeout) == ("normal", 0.5)

    def test_what_is_not_chosen_is_durable(self) -> None:
        """Commits survive a loss of power by default."""
        location = located("sqlite:///tasks.db")

        assert (location.synchronous, location.busy_timeout) == ("full", 5.0)

    @pytest.mark.parametrize(
        ("url", "hint"),
        [
            ("postgresql:///tasks", "sqlite:///"),
            ("sqlite://tasks.db", "three slashes"),
            ("sqlite:tasks.db", "three slashes"),
            ("sqlite://", "three slashes"),
            ("sqlite:///", "memory://"),
            ("sqlite:///:memory:", "memory://"),
            ("sqlite:///file:tasks.db", "memory://"),
            ("sqlite:///a#b.db", "%23"),
            ("sqlite:///a#", "%23"),
            ("sqlite:///a%00b", "NUL"),
            ("sqlite:///tasks.db?journal_mode=off", "journal_mode"),
            ("sqlite:///tasks.db?synchronous=full&synchronous=normal", "repeated"),
            ("sqlite:///tasks.db?synchronous=off", "full, extra, normal"),
            ("sqlite:///tasks.db?busy_timeout=soon", "seconds"),
            ("sqlite:///tasks.db?busy_timeout=-1", "seconds"),
            ("sqlite:///tasks.db?busy_timeout=nan", "seconds"),
        ],
    )
    def test_what_is_malformed_is_refused_with_a_way_out(self, url: str, hint: str) -> None:
        """The error names what was given and what to write instead."""
        with pytest.raises(ConfigurationError, match=hint.replace("?", r"\?")):
            open_sqlite(url)

    def test_a_store_can_be_made_of_a_path(self, tmp_path: Path) -> None:
        """A path is as good as a URL; the memory database of SQLite is refused there, too."""
        assert SqliteStore(tmp_path / "tasks.db").env == "DEFAULT"
        with pytest.raises(ConfigurationError, match="memory://"):
            SqliteStore(":memory:")

    def test_an_environment_that_no_store_could_keep_is_refused(self) -> None:
        """The name of the environment is checked before anything is opened."""
        with pytest.raises(InvalidTaskError):
            open_sqlite("sqlite:///tasks.db", env="")


MOUNT_LINES = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:40 / /mnt/team\\040share rw - nfs4 server:/share rw
24 22 0:41 / /mnt/team\\040share/local rw shared:7 master:1 - xfs /dev/vdb rw
25 22 0:42 / /windows rw - cifs //server/share rw
a line that is none
"""


class TestPlaces:
    """Folders and file systems."""

    @pytest.fixture
    def mounts(self, tmp_path: Path) -> Path:
        """Return a list of mounts."""
        file = tmp_path / "mountinfo"
        file.write_text(MOUNT_LINES, encoding="utf-8")
        return file

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/srv/tasks.db", "ext4"),
            ("/mnt/team share/tasks.db", "nfs4"),
            ("/mnt/team share/local/tasks.db", "xfs"),
            ("/mnt/team/tasks.db", "ext4"),
            ("/windows/tasks.db", "cifs"),
        ],
    )
    def test_the_deepest_mount_point_tells_the_file_system(self, mounts: Path, path: str, kind: str) -> None:
        """Escapes in the list are understood."""
        assert file_system(Path(path), mounts) == kind

    def test_this_systems_list_is_understood(self, tmp_path: Path) -> None:
        """Where the system has a list of mounts, every path lies on one of them."""
        assert (file_system(tmp_path) is not None) == MOUNTS.exists()

    def test_a_network_file_system_is_refused(self, tmp_path: Path) -> None:
        """Its locks and its memory are not shared with other machines."""
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"22 1 0:40 / {tmp_path} rw - nfs4 server:/share rw\n", encoding="utf-8")

        with pytest.raises(ConfigurationError, match="nfs4"):
            check_place(tmp_path / "tasks.db", mounts=mounts)

    def test_where_the_system_does_not_tell_nothing_is_refused(self, tmp_path: Path) -> None:
        """Without a list of mounts the place is taken as it is."""
        check_place(tmp_path / "tasks.db", mounts=tmp_path / "no such list")

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        """The folder is not created silently: its name may be a mistake."""
        with pytest.raises(ConfigurationError, match="Create"):
            check_place(tmp_path / "no such folder" / "tasks.db")

    def test_a_folder_is_no_database(self, tmp_path: Path) -> None:
        """The path has to name a file."""
        with pytest.raises(ConfigurationError, match="regular file"):
            check_place(tmp_path)
