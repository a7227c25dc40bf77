"""The embedded server, and those who use it, killed, stopped, or not what a pid file says."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from embedded_helpers import Client, is_vacant, postmaster_pid, query

from ledger.control.embedded import EmbeddedPostgres, EmbeddedServerBusy
from ledger.control.embedded.account import Account
from ledger.control.embedded.binaries import Binaries
from ledger.control.embedded.layout import Layout
from ledger.control.embedded.locks import LockFile
from ledger.errors import EmbeddedServerError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


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
