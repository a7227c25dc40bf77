"""A worker process (pool.py starts it). Standard input brings the job and then
its parts, standard output takes results; it ends when its input does, so it never outlives who started it."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from ledger.errors import DaichoError, StoreError
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from projections.workers.frames import LENGTH, cannot_be_sent, frame, unframed
from projections.workers.job import Job

TOLD_EVENTS = 5_000
PATIENCE = 5
"""Of the niceness of processes: who works in the background lets others go first."""


def main() -> None:
    if sys.platform != "win32":
        os.nice(PATIENCE)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a print in somebody's fold must not get between the frames
    # States hold no cycles, and what was imported stays: looking for some takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    asyncio.run(_work(source, sink))


async def _work(source: BinaryIO, sink: BinaryIO) -> None:
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_receive, args=(source, inbox, loop), daemon=True).start()

    def send(kind: str, value: object) -> None:
        sink.write(frame((kind, value)))
        sink.flush()

    try:
        job: Job[Any, Any] | DaichoError = await inbox.get()
        if isinstance(job, DaichoError):
            raise job
        async with job.open() as opened:
            while (part := await inbox.get()) is not None:
                telling = _Telling(send)
                result = await opened.perform(part, telling.folded)
                telling.tell()
                send("done", result)
    except POSTGRES_ERRORS as error:
        send("failed", store_error(error, "working over the log", "its server"))
    except Exception as error:
        send("failed", error if isinstance(error, DaichoError) else StoreError(f"A worker failed: {error!r}"))


def _receive(source: BinaryIO, inbox: "asyncio.Queue[Any]", loop: asyncio.AbstractEventLoop) -> None:
    while True:
        head = source.read(LENGTH.size)
        if len(head) < LENGTH.size:
            os._exit(0)  # whoever started this is gone, or done with it
        try:
            value = unframed(source.read(LENGTH.unpack(head)[0]))
        except Exception as error:  # whatever somebody's module does when it is imported
            value = cannot_be_sent(error)
        loop.call_soon_threadsafe(inbox.put_nowait, value)


class _Telling:
    """Tells how many events were folded, some thousands at a time."""

    def __init__(self, send: Callable[[str, object], None]) -> None:
        self._send = send
        self._events = 0

    def folded(self, events: int) -> None:
        self._events += events
        if self._events >= TOLD_EVENTS:
            self.tell()

    def tell(self) -> None:
        if self._events:
            self._send("folded", self._events)
            self._events = 0
