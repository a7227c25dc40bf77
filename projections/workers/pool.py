"""Pool: the parts of a job, done by so many processes, or by this one where there is little to do. While one
is enough, those beyond the first wait, or are not even started."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from ledger.errors import WorkerLost
from projections.workers.frames import LENGTH, frame, unframed
from projections.workers.job import Folded, Job

WORKERS_MAX = 64
EVENTS_OF_WORKER = 50_000
"""A process takes as long to start as some ten thousand events take to fold."""
ASK_SECONDS = 0.1

Asked = Callable[[], Awaitable[bool]]

P = TypeVar("P")
R = TypeVar("R")

# A projection's module is found there as it was found here. (PYTHONPATH would put a user's folder before the
# standard library while the interpreter still starts.)
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from projections.workers.process import main; main()"


def workers_for(events: int, wanted: int | None) -> int:
    """How many processes: `wanted`, or as many as there are processors where that much is to be done.
    0 is none but this one."""
    if wanted is not None:
        if not 0 <= wanted <= WORKERS_MAX:
            raise ValueError(f"workers is 0 to {WORKERS_MAX}, not {wanted}")
        return wanted
    return min(os.cpu_count() or 1, events // EVENTS_OF_WORKER, WORKERS_MAX)


async def perform(
    job: Job[P, R],
    parts: Sequence[P],
    workers: int,
    folded: Folded,
    one_is_enough: Asked | None = None,
) -> list[R]:
    """The results for all parts, in any order. `one_is_enough` is asked before each part that the first
    process does not do. The first failure ends all and is raised; WorkerLost where a process was killed."""
    results: list[R] = []
    if not workers:
        async with job.open() as opened:
            for part in parts:
                results.append(await opened.perform(part, folded))
        return results
    waiting = deque(parts)

    async def may_begin() -> bool:
        return bool(waiting)

    async def may_help() -> bool:
        while waiting and one_is_enough is not None:
            if not await one_is_enough():
                break
            await asyncio.sleep(ASK_SECONDS)
        return bool(waiting)

    helpers = min(workers, len(parts)) - 1
    await together(
        _keep_busy(job, waiting, results, folded, may_work) for may_work in (may_begin, *[may_help] * helpers)
    )
    return results


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once. The first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _keep_busy(
    job: Job[P, R], waiting: deque[P], results: list[R], folded: Folded, may_work: Asked
) -> None:
    if not await may_work():
        return
    async with _worker() as worker:
        await _say(worker, job)
        while await may_work():
            await _say(worker, waiting.popleft())
            while True:
                kind, value = await _hear(worker)
                if kind == "folded":
                    folded(value)
                elif kind == "failed":
                    raise value
                else:
                    results.append(value)
                    break


@asynccontextmanager
async def _worker() -> AsyncIterator[Process]:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        _PROGRAM,
        *(entry or os.getcwd() for entry in sys.path),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await asyncio.shield(worker.wait())


async def _say(worker: Process, value: object) -> None:
    assert worker.stdin is not None
    worker.stdin.write(frame(value))
    with contextlib.suppress(ConnectionError):  # what became of it is heard
        await worker.stdin.drain()


async def _hear(worker: Process) -> tuple[str, Any]:
    assert worker.stdout is not None
    try:
        head = await worker.stdout.readexactly(LENGTH.size)
        data = await worker.stdout.readexactly(LENGTH.unpack(head)[0])
    except asyncio.IncompleteReadError:
        code = await worker.wait()
        raise WorkerLost(
            f"A worker process ended unasked, with exit status {code}",
            fix="The tables are as they were. Look whether the machine ran out of memory; try again",
        ) from None
    said: tuple[str, Any] = unframed(data)
    return said
