"""flock(2) on files: locks that the kernel itself releases when their holder dies, however it dies.

Three locks per home, and who holds them:

- `lifecycle.lock`, exclusive: one process or thread at a time starts or stops the server.
- `users.lock`, shared: one claim per open handle. Whoever turns theirs into an exclusive one was the last.
- `server.lock`, exclusive: passed on to initdb and to the postmaster, whose children inherit it. While one
  of them lives it cannot be taken; once it can, none lives. That is proof where a pid is not: pids are
  reused, and postmaster.pid outlives a kill -9.

All but the last are closed on exec. Of a fork without exec, the child closes its copies at once: otherwise
it would keep its parent's locks alive.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ledger.control.embedded.deadline import Deadline
from ledger.control.embedded.errors import EmbeddedServerBusy

__all__ = ["LockFile", "exclusive"]

_open_locks: "set[LockFile]" = set()


class LockFile:
    """One open lock file. Two of them exclude each other even within one process."""

    def __init__(self, path: Path) -> None:
        # O_NOFOLLOW: root may open files in a folder that belongs to somebody else.
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _open_locks.add(self)
        if os.geteuid() == 0:
            folder = os.stat(path.parent)
            os.fchown(self.fd, folder.st_uid, folder.st_gid)

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def try_exclusive(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give up the lock for every process that holds a copy of this descriptor."""
        if not self.closed:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.close()

    def close(self) -> None:
        """Close our copy. The lock lives on in processes that were given a copy of their own."""
        fd, self.fd = self.fd, -1
        _open_locks.discard(self)
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "LockFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def exclusive(path: Path, deadline: Deadline) -> Iterator[None]:
    lock = LockFile(path)
    try:
        while not lock.try_exclusive():
            if not deadline.pause():
                raise EmbeddedServerBusy(
                    f"Another process has been starting or stopping the embedded PostgreSQL for more than "
                    f"{deadline.seconds:g} s (it holds {path})"
                )
        yield
    finally:
        lock.release()


def _close_in_forked_child() -> None:
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_close_in_forked_child)
