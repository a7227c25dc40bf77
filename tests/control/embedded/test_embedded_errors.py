"""What keeps the embedded server from starting is a typed error that says what to do."""

import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from embedded_helpers import Client

from ledger.control.embedded import EmbeddedPostgres, EmbeddedServerBusy
from ledger.control.embedded import account as account_module
from ledger.control.embedded import binaries as binaries_module
from ledger.errors import EmbeddedServerError
from tests.support.users import as_root

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


def test_a_server_that_ends_at_once_is_an_error_with_the_end_of_its_log(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="invalid value for parameter") as caught:
        EmbeddedPostgres.start(home, settings={"shared_buffers": "nonsense"})
    assert str(home / "postgres" / "log") in str(caught.value)
    assert not isinstance(caught.value, EmbeddedServerBusy)


def test_without_the_wheel_the_error_names_the_extra(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries_module.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedServerError, match=r"daicho\[embedded\].*DAICHO_DATABASE_URL"):
        EmbeddedPostgres.start(fresh_home)


def test_data_of_another_major_version_is_refused_before_anything_starts(fresh_home: Path) -> None:
    data = fresh_home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"Found version 12\..*pg_dumpall"):
        EmbeddedPostgres.start(fresh_home)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_folder_that_is_not_a_cluster_is_left_alone(fresh_home: Path) -> None:
    data = fresh_home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "diary.txt").write_text("mine")
    with pytest.raises(EmbeddedServerError, match="in the way"):
        EmbeddedPostgres.start(fresh_home)
    assert (data / "diary.txt").read_text() == "mine"


def test_a_home_that_is_a_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(EmbeddedServerError, match="DAICHO_HOME must be a folder"):
        EmbeddedPostgres.start(tmp_path / "home")


@as_root
def test_a_read_only_folder_is_a_typed_error(
    nobody: pwd.struct_passwd, nobodys_home: Path, start_client: Callable[..., Client]
) -> None:
    nobodys_home.chmod(0o500)
    answer = start_client(nobodys_home / "home", user=nobody).hear()
    assert answer["kind"] == "EmbeddedServerError"
    assert "Permission denied" in answer["error"]


@as_root
def test_a_full_disk_is_a_typed_error(tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path)], check=False
    ).returncode:
        pytest.skip("this root may not mount a small file system")
    try:
        with pytest.raises(EmbeddedServerError, match="No space left on device"):
            EmbeddedPostgres.start(tmp_path / "home")
        assert not list(tmp_path.glob("home/postgres/data*"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@as_root
def test_root_without_useradd_is_told_what_to_do(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(account_module.pwd, "getpwnam", unknown)
    monkeypatch.setattr(account_module.shutil, "which", lambda name, path: None)
    with pytest.raises(EmbeddedServerError, match="Run daicho as a normal user, or set DAICHO_DATABASE_URL"):
        EmbeddedPostgres.start(fresh_home)


def test_a_user_without_a_name_is_told_so(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(account_module.pwd, "getpwuid", unknown)
    with pytest.raises(EmbeddedServerError, match="needs a user with a name"):
        EmbeddedPostgres.start(fresh_home)
