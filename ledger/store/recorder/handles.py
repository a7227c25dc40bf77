"""Handles: how an application finds its tenant. The library's environment holds text only, and no
address or password shall stand in it; so it holds a handle, which means something in this process
alone."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ledger.store.recorder.errors import TenantHandleMissing
from ledger.store.tenant_database import TenantDatabase

HANDLE_VARIABLE = "DAICHO_TENANT_HANDLE"

Listener = Callable[[], None]


class Appended:
    """Tells this process's listeners that an application recorded something. A hint, never a
    promise: whoever waits also looks by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def notify(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


@dataclass(frozen=True)
class TenantHandle:
    """`appended` is shared by all handles of one database."""

    database: TenantDatabase
    appended: Appended
    listener: Listener | None


_lock = threading.Lock()
_handles: dict[str, TenantHandle] = {}
_appended: WeakValueDictionary[str, Appended] = WeakValueDictionary()


def register(database: TenantDatabase, on_append: Listener | None = None) -> str:
    """A handle for `database`, valid in this process until it is released. `on_append` is called,
    in any thread, after an application has recorded something."""
    with _lock:
        appended = _appended.get(database.name)
        if appended is None:
            appended = _appended[database.name] = Appended()
        token = f"tenant-{secrets.token_hex(8)}"
        _handles[token] = TenantHandle(database, appended, on_append)
    if on_append is not None:
        appended.listen(on_append)
    return token


def release(token: str) -> None:
    """No application can be built with it any more; those that were go on until they are closed."""
    with _lock:
        handle = _handles.pop(token, None)
    if handle is not None and handle.listener is not None:
        handle.appended.unlisten(handle.listener)


def find(token: str | None) -> TenantHandle:
    with _lock:
        handle = _handles.get(token or "")
    if handle is None:
        raise TenantHandleMissing(
            "The application's environment names no open tenant of this process",
            expected=f"{HANDLE_VARIABLE} as `tenant.application_env()` gives it, while the ledger is open",
            found=f"{HANDLE_VARIABLE}={token!r}",
            fix="Build it as App(env=tenant.application_env())",
        )
    return handle
