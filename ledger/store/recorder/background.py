"""Background: the one event loop of this process on which all recorders talk to PostgreSQL, in a
thread of its own. It starts with its first user and stops with its last."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ledger.store.recorder.errors import RecorderClosed

T = TypeVar("T")


class Background:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        # A daemon: an application that was never closed must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="daicho-recorder", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the loop and waits for what it returns. Where the waiting is interrupted
        (Ctrl-C), the work is cancelled."""
        if not self.is_ours() or self._loop.is_closed():
            work.close()
            raise RecorderClosed(
                "The recorder's event loop belongs to the process this one was forked from, or has stopped",
                fix="Build the Application in the process that uses it",
            )
        assert threading.current_thread() is not self._thread, "the loop would wait for itself"
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RecorderClosed("The application was closed during this call", fix="Build it anew") from None
        except BaseException:
            future.cancel()
            raise

    def is_ours(self) -> bool:
        return self._pid == os.getpid()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # Whoever still waits in another thread must hear of the end.
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


_lock = threading.Lock()
_shared: Background | None = None
_users = 0


def acquire() -> Background:
    """The process's background, started where there is none; pair with `release`."""
    global _shared, _users
    with _lock:
        if _shared is None:
            _shared = Background()
        _users += 1
        return _shared


def release(background: Background) -> None:
    global _shared, _users
    with _lock:
        if background is not _shared:
            return  # its process was forked: the parent lets go of it
        _users -= 1
        if _users == 0:
            _shared = None
            background.stop()


def _begin_anew() -> None:
    """In a forked child: the thread stayed behind, and the lock may have been held."""
    global _lock, _shared, _users
    _lock, _shared, _users = threading.Lock(), None, 0


os.register_at_fork(after_in_child=_begin_anew)
