"""Starting and stopping the server. Both happen under the lifecycle lock.

What is believed, and why:

- The server is up when it opens a session on our socket; postmaster.pid is only a hint when to ask.
- No process of it lives when its lock can be taken. A postmaster.pid is then stale whatever pid it names,
  and is set aside: PostgreSQL itself would take any process of the account with that pid for its own. Should
  somebody have started a postmaster by hand, PostgreSQL's check of its shared memory still refuses a second
  one; its file is then put back, for without it the first would end.
- A signal goes to a pid only if postmaster.pid names it, the server's lock is held, somebody listens on the
  socket in our private folder, and the kernel, where it can tell, says the listener is that very pid.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ledger.control.embedded import ping
from ledger.control.embedded.account import Account
from ledger.control.embedded.binaries import Binaries
from ledger.control.embedded.cluster import ensure_cluster, open_start_log
from ledger.control.embedded.deadline import Deadline
from ledger.control.embedded.errors import EmbeddedServerBusy
from ledger.control.embedded.layout import PORT, Layout
from ledger.control.embedded.locks import LockFile
from ledger.errors import EmbeddedServerError

__all__ = ["ensure_running", "stop"]

_LOG_KEPT_SECONDS = 6 * 24 * 3600
_STATUS_LINE = 7
_log = logging.getLogger("ledger.control.embedded")

# Postmasters that this process started, kept to reap them: a zombie would look alive to other tools.
_children: list[subprocess.Popen[bytes]] = []


def ensure_running(layout: Layout, settings: Mapping[str, str], deadline: Deadline) -> None:
    account = Account.for_home(layout)
    account.prepare_server_folders(layout)
    try:
        _start_unless_ready(layout, account, settings, deadline)
    except BaseException:
        _remove_short_socket_folder(layout)
        raise


def _start_unless_ready(
    layout: Layout, account: Account, settings: Mapping[str, str], deadline: Deadline
) -> None:
    vacant = _vacant_unless_ready(layout, deadline)
    if vacant is None:
        return
    with vacant:
        binaries = Binaries.of_wheel().usable_by(account, layout)
        ensure_cluster(layout, binaries, account, vacant.fd, deadline)
        _set_stale_files_aside(layout)
        _launch(layout, binaries, account, settings, vacant.fd)
    # Our copy of the lock is closed; the postmaster and its children hold it from here on.
    died = _vacant_unless_ready(layout, deadline)
    if died is not None:
        _put_back_pid_file(layout)
        died.close()
        raise EmbeddedServerError(
            f"PostgreSQL ended while starting in {layout.data}",
            found=f"its log ends with:\n{layout.log_tail()}",
            fix=f"The whole log is in {layout.log}",
        )


def stop(layout: Layout, deadline: Deadline) -> None:
    """Stop the server, which nobody uses any more: sessions are ended, committed work is kept."""
    pid = _proven_postmaster(layout)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
    while (vacant := _try_server_lock(layout)) is None:
        if not deadline.pause():
            _log.warning("the embedded PostgreSQL in %s is still shutting down", layout.data)
            return
    vacant.close()
    _reap()
    _remove_short_socket_folder(layout)


def _remove_short_socket_folder(layout: Layout) -> None:
    """Leave nothing outside the home. A folder that holds a socket is not empty and stays."""
    if not layout.socket_is_in_home:
        with suppress(OSError):
            layout.socket_folder.rmdir()


def _vacant_unless_ready(layout: Layout, deadline: Deadline) -> LockFile | None:
    """Wait for one of two outcomes: None, the server is ready; its lock, taken, as no process of it lives."""
    while True:
        if _is_ready(layout, deadline):
            return None
        vacant = _try_server_lock(layout)
        if vacant is not None:
            return vacant
        if not deadline.pause():
            raise EmbeddedServerBusy(
                f"PostgreSQL in {layout.data} did not get ready within {deadline.seconds:g} s",
                found=f"its processes live; its log ends with:\n{layout.log_tail()}",
                fix=f"It was left alone and may be recovering from a crash. The whole log is in {layout.log}",
            )


def _is_ready(layout: Layout, deadline: Deadline) -> bool:
    # The hint spares the server's log a line per poll for "the database system is starting up".
    status = _pid_file_lines(layout)[_STATUS_LINE:]
    return status[:1] == ["ready"] and ping.answers(layout.socket, min(5.0, deadline.remaining_seconds))


def _try_server_lock(layout: Layout) -> LockFile | None:
    lock = LockFile(layout.server_lock)
    if lock.try_exclusive():
        return lock
    lock.close()
    return None


def _proven_postmaster(layout: Layout) -> int | None:
    vacant = _try_server_lock(layout)
    if vacant is not None:
        vacant.close()
        _reap()
        return None
    listener = ping.listener_pid(layout.socket)
    named = _pid_file_lines(layout)[:1]
    agree = named == [str(listener)] or not ping.KERNEL_NAMES_LISTENER
    if listener is None or not named or not named[0].isdigit() or not agree:
        _log.warning(
            "the embedded PostgreSQL in %s was left running, as its process could not be identified: "
            "postmaster.pid names %s, the socket's listener is %s",
            layout.data,
            named,
            listener,
        )
        return None
    return int(named[0])


def _pid_file_lines(layout: Layout) -> list[str]:
    """postmaster.pid: pid, data folder, start time, port, socket folder, address, shared memory, status."""
    try:
        return [line.strip() for line in layout.postmaster_pid.read_text().splitlines()]
    except FileNotFoundError:
        return []


def _set_stale_files_aside(layout: Layout) -> None:
    for path in (layout.socket, Path(f"{layout.socket}.lock")):
        path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        layout.postmaster_pid.rename(layout.set_aside_pid)


def _put_back_pid_file(layout: Layout) -> None:
    with suppress(FileNotFoundError):
        if not layout.postmaster_pid.exists():
            layout.set_aside_pid.rename(layout.postmaster_pid)


def _launch(
    layout: Layout, binaries: Binaries, account: Account, settings: Mapping[str, str], server_lock: int
) -> None:
    _reap()
    _remove_old_logs(layout)
    # What depends on where the home lies now, and what keeps the server private, is not left to a file.
    forced = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(layout.socket_folder),
        "unix_socket_permissions": "0700",
        "logging_collector": "on",
        "log_directory": str(layout.log),
    }
    options = [part for name, value in {**settings, **forced}.items() for part in ("-c", f"{name}={value}")]
    log = open_start_log(layout, account)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own binary
            [binaries.postgres, "-D", layout.data, *options],
            stdout=log,
            stderr=log,
            pass_fds=(server_lock,),
            **account.spawn_options(),
        )
    finally:
        os.close(log)
    _children.append(process)


def _remove_old_logs(layout: Layout) -> None:
    # The server empties a weekday's file only if it is running when that day begins.
    for path in layout.log.glob("postgresql-*.log"):
        if path.stat().st_mtime < time.time() - _LOG_KEPT_SECONDS:
            path.unlink()


def _reap() -> None:
    """Forget the children that ended."""
    _children[:] = [child for child in _children if child.poll() is None]
