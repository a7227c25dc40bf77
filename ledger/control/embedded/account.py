"""The account: which operating-system user runs the server, and what it must be able to reach.

Started by an ordinary user, the server runs as that user and nothing here changes anything. Started by root,
it cannot run as root, for PostgreSQL refuses to. It runs as the owner of the cluster (or of the home, before
there is one), so that `sudo daicho` in somebody's home leaves files they can use; where that owner is root
itself, as the system user `daicho-postgres`, made on first use.

Who may connect: the socket lies in a folder of mode 0700 that the account owns, so only the account and
root can reach it. That folder is the whole of the authentication; within it, PostgreSQL trusts.
"""

import logging
import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.control.embedded.layout import Layout
from ledger.errors import EmbeddedServerError

__all__ = ["SYSTEM_USER", "Account"]

SYSTEM_USER = "daicho-postgres"
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_USERADD_TRIES_MAX = 5
_log = logging.getLogger("ledger.control.embedded")


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int
    switches: bool
    """True when we are root and children must change to the account."""

    @classmethod
    def for_home(cls, layout: Layout) -> "Account":
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), switches=False)
        for path in (layout.data, layout.home):
            owner = path.stat() if path.exists() else None
            # A volume of a container often belongs to a number without a name here, and initdb wants a name.
            if owner and owner.st_uid != 0 and (path == layout.data or _has_name(owner.st_uid)):
                return cls(owner.st_uid, owner.st_gid, switches=True)
        entry = _system_user()
        return cls(entry.pw_uid, entry.pw_gid, switches=True)

    def spawn_options(self) -> dict[str, Any]:
        """Arguments for `subprocess` that make a child run as the account, in a session of its own: Ctrl-C in
        the terminal of whoever started it must not reach the server."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
            "cwd": "/",
            "env": _environment(),
            "umask": 0o077,
        }
        if self.switches:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def prepare_home(self, layout: Layout) -> None:
        """Make the home and our folder in it, private as far as the account allows."""
        layout.home.mkdir(mode=0o711 if self.switches else 0o700, parents=True, exist_ok=True)
        if not layout.folder.exists():
            self._make_folder_of_home(layout)
        if self.switches:
            self._open_way_to(layout.folder)

    def prepare_server_folders(self, layout: Layout) -> None:
        """To be called under the lifecycle lock: stopping a server may remove the socket's folder."""
        for folder in (layout.log, layout.socket_folder):
            self.own_folder(folder)

    def _make_folder_of_home(self, layout: Layout) -> None:
        layout.folder.mkdir(mode=0o700, exist_ok=True)
        if self.switches:
            home = layout.home.stat()
            os.chown(layout.folder, home.st_uid, home.st_gid)
            if home.st_uid != self.uid:
                layout.folder.chmod(0o711)

    def own_folder(self, folder: Path) -> None:
        """Make `folder`, or check that nobody else made it, and close it to others (0700)."""
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        ours = {self.uid, 0} if self.switches else {self.uid}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
            raise EmbeddedServerError(
                f"{folder} is not safe to use",
                expected=f"a folder owned by user {self.uid}",
                found=f"{stat.filemode(found.st_mode)} owned by user {found.st_uid}",
                fix="Remove it, or choose another DAICHO_HOME",
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
        if found.st_uid != self.uid:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)

    def own_tree(self, folder: Path) -> None:
        """Give a whole cluster to the account: root restored it from a backup, for instance."""
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(root, name), self.uid, self.gid, follow_symlinks=False)
        # Last, because its owner is what tells a finished change from one that was interrupted.
        os.chown(folder, self.uid, self.gid, follow_symlinks=False)

    def check_name(self) -> None:
        if not _has_name(self.uid):
            raise EmbeddedServerError(
                f"initdb needs a user with a name, and this system knows none for user {self.uid}",
                fix=f"Add user {self.uid} to the system's users, or set DAICHO_DATABASE_URL",
            )

    def may(self, path: Path, bits: int) -> bool:
        """Whether the account has these permission bits (4 read, 1 search or execute) on `path`."""
        found = path.stat()
        if found.st_uid == self.uid:
            return (found.st_mode >> 6) & bits == bits
        if found.st_gid == self.gid:
            return (found.st_mode >> 3) & bits == bits
        return found.st_mode & bits == bits

    def may_reach(self, path: Path) -> bool:
        return all(self.may(parent, 1) for parent in path.parents)

    def _open_way_to(self, folder: Path) -> None:
        for path in (folder, *folder.parents):
            if not self.may(path, 1):
                path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IXOTH)
                _log.warning(
                    "let other users pass through %s (search permission only, no reading): PostgreSQL "
                    "cannot run as root, and runs as user %d below this folder",
                    path,
                    self.uid,
                )


def _environment() -> dict[str, str]:
    """Only what a server needs: no secrets of ours, and no PG* variables, which would change its settings."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return kept | {"PATH": os.environ.get("PATH", _SYSTEM_PATH), "LC_ALL": "C"}


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _system_user() -> pwd.struct_passwd:
    said = "useradd is not installed"
    for _ in range(_USERADD_TRIES_MAX):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            pass
        useradd = shutil.which("useradd", path=_SYSTEM_PATH)
        if useradd is None:
            break
        options = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"]
        made = subprocess.run(  # noqa: S603 - a fixed command
            [useradd, *options, SYSTEM_USER], capture_output=True, text=True, check=False, timeout=30
        )
        if made.returncode != 0:
            # Another process may hold the lock of the user database, or have made the user meanwhile.
            said = made.stderr.strip() or f"useradd ended with code {made.returncode}"
            time.sleep(0.2)
    raise EmbeddedServerError(
        f"PostgreSQL refuses to run as root, and the system user {SYSTEM_USER} could not be made",
        found=said,
        fix="Run daicho as a normal user, or set DAICHO_DATABASE_URL to a PostgreSQL server",
    )
