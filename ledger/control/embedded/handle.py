"""The handle that the rest of daicho holds on an embedded server."""

import atexit
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from ledger.control.embedded.account import Account
from ledger.control.embedded.deadline import Deadline
from ledger.control.embedded.layout import PORT, Layout
from ledger.control.embedded.locks import LockFile, exclusive
from ledger.control.embedded.server import ensure_running, stop
from ledger.errors import EmbeddedServerError

__all__ = ["EmbeddedPostgres"]

_log = logging.getLogger("ledger.control.embedded")
_open_handles: "set[EmbeddedPostgres]" = set()


class EmbeddedPostgres:
    """A claim on the server of one home, from `start` to `close`.

    Any number of handles, in any number of threads and processes, share one server; closing the last one
    stops it. A process that dies without closing loses its claim to the kernel, and the server goes on until
    some later handle is the last to close.

    Fork: a handle belongs to the process that started it. In a forked child it is closed already, and
    closing it again does nothing; the child starts one of its own. Where the parent may end first, it should
    do so before it opens connections.
    """

    def __init__(self, layout: Layout, claim: LockFile) -> None:
        self._layout = layout
        self._claims = [claim]
        _open_handles.add(self)

    @classmethod
    def start(
        cls, home: Path, *, settings: Mapping[str, str] | None = None, timeout_seconds: float = 60.0
    ) -> "EmbeddedPostgres":
        """Make the cluster if there is none, start the server if it is not up, and claim it. Blocks (about a
        second the first time): call it in a thread. `settings` are PostgreSQL settings for a server that this
        call has to start; one that is running keeps its own.

        Raises EmbeddedServerError; EmbeddedServerBusy (retryable) when `timeout_seconds` was not enough.
        """
        layout = Layout.of(home)
        try:
            return cls(layout, _claim(layout, settings or {}, Deadline(timeout_seconds)))
        except OSError as error:
            raise EmbeddedServerError(
                f"The embedded PostgreSQL cannot use {error.filename or layout.folder}",
                found=error.strerror or str(error),
                fix="DAICHO_HOME must be a folder that this user may write to, with space left, on a file "
                "system that knows locks; or set DAICHO_DATABASE_URL to a PostgreSQL server",
            ) from error

    @property
    def home(self) -> Path:
        return self._layout.home

    @property
    def socket_folder(self) -> Path:
        return self._layout.socket_folder

    def connect_kwargs(self, database: str) -> dict[str, Any]:
        """Keyword arguments of `asyncpg.connect` and `asyncpg.create_pool`."""
        return {"host": str(self.socket_folder), "port": PORT, "user": "postgres", "database": database}

    def sqlalchemy_url(self, database: str) -> str:
        return (
            f"postgresql+asyncpg://postgres@/{quote(database, safe='')}?host={self.socket_folder}&port={PORT}"
        )

    def close(self, *, timeout_seconds: float = 60.0) -> None:
        """Give up the claim, and stop the server if it was the last. Blocks. What goes wrong is logged, not
        raised. Closing again does nothing."""
        _open_handles.discard(self)
        try:
            claim = self._claims.pop()
        except IndexError:
            return
        if not claim.closed:
            _give_up(self._layout, claim, Deadline(timeout_seconds))

    def __enter__(self) -> "EmbeddedPostgres":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _claim(layout: Layout, settings: Mapping[str, str], deadline: Deadline) -> LockFile:
    Account.for_home(layout).prepare_home(layout)
    with exclusive(layout.lifecycle_lock, deadline):
        claim = LockFile(layout.users_lock)
        try:
            claim.share()
            ensure_running(layout, settings, deadline)
        except BaseException:
            claim.release()
            raise
    return claim


def _give_up(layout: Layout, claim: LockFile, deadline: Deadline) -> None:
    try:
        with exclusive(layout.lifecycle_lock, deadline):
            if claim.try_exclusive():
                stop(layout, deadline)
    except (OSError, EmbeddedServerError) as error:
        _log.warning("the embedded PostgreSQL in %s may have been left running: %s", layout.data, error)
    finally:
        with suppress(OSError):
            claim.release()


@atexit.register
def _close_all() -> None:
    for handle in list(_open_handles):
        handle.close()
