"""Bodies in pieces, on their way in and out.

A *block* is what one call to a disk or server moves; a *chunk* is whatever a producer happens to hand over.
"""

import hashlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from blobstore.digest import Digest

BLOCK_BYTES = 1 << 20

T = TypeVar("T")


class RunBlocking(Protocol):
    """Runs a blocking call in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


def require_bytes(content: object) -> None:
    """Raise TypeError for anything but bytes. A bytearray could change while it is hashed."""
    if not isinstance(content, bytes):
        raise TypeError(f"A blob is made of bytes, not {type(content).__name__}")


async def blocks(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks of BLOCK_BYTES, the last one shorter. Raises TypeError for other chunks."""
    held = bytearray()
    async for chunk in chunks:
        require_bytes(chunk)
        rest = memoryview(chunk)
        while rest:
            taken = rest[: BLOCK_BYTES - len(held)]
            rest = rest[len(taken) :]
            held += taken
            if len(held) == BLOCK_BYTES:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


def proven(
    blocks: Iterable[bytes], digest: Digest, corrupt: Callable[[Digest], Exception]
) -> Iterator[bytes]:
    """The blocks, the last one only if all hash to the digest; where not, `corrupt(found)` is raised."""
    running = hashlib.sha256()
    held: bytes | None = None
    for block in blocks:
        running.update(block)
        if held is not None:
            yield held
        held = block
    found = Digest(running.hexdigest())
    if found != digest:
        raise corrupt(found)
    if held is not None:
        yield held


def require_range(start: int, stop: int | None) -> None:
    """Raise ValueError unless it is a slice that counts from the beginning."""
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"A part of a blob is 0 <= start <= stop, not {start}..{stop}")


def require_age(seconds: float) -> None:
    """Raise ValueError for what can be no age. No number at all, too."""
    if not seconds >= 0:
        raise ValueError(f"An age is 0 seconds or more, not {seconds}")


@asynccontextmanager
async def pulled(
    blocks: Generator[bytes, None, None], run: RunBlocking
) -> AsyncIterator[AsyncIterator[bytes]]:
    """A blocking generator as an async one, each step in a thread. Leaving ends the step under way, and it.

    The first block is fetched on entering, so that an absent blob is told there.
    """
    lock = threading.Lock()  # a cancelled step is still running in its thread

    def step() -> bytes | None:
        with lock:
            return next(blocks, None)

    def close() -> None:
        with lock:
            blocks.close()

    async def all_blocks(block: bytes | None) -> AsyncIterator[bytes]:
        while block is not None:
            yield block
            block = await run(step)

    try:
        yield all_blocks(await run(step))
    finally:
        await run(close)
