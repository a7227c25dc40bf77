"""Small blobs put at the same time go to the disk together: its answer is waited for once, not for each.

A group is what came while the one before it was under way. No timer: a lone put waits for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from blobstore.digest import Digest
from blobstore.errors import BlobError
from blobstore.filesystem.put import Put
from blobstore.streams import RunBlocking

BODY_BYTES_MAX = 256 << 10
PUTS_MAX = 64
PUTS_MIN = 4  # fewer are quicker by themselves, each in a thread


_Waiting = tuple[Put, "asyncio.Future[Digest]"]


class Grouping:
    """Hands puts to threads: `alone` one by one; `together` by the group, if `may_group`, which is asked
    once. All three block. `tell` says an OSError as a BlobError."""

    def __init__(
        self,
        run: RunBlocking,
        alone: Callable[[Put], None],
        together: Callable[[Sequence[Put]], None],
        may_group: Callable[[], bool],
        tell: Callable[[OSError], BlobError],
    ) -> None:
        self._run, self._alone, self._together, self._tell = run, alone, together, tell
        self._may_group = may_group
        self._groups: bool | None = None
        self._waiting: list[_Waiting] = []
        self._handing_out: asyncio.Task[None] | None = None
        self._by_themselves: set[asyncio.Task[None]] = set()

    async def put(self, put: Put) -> Digest:
        """Return once it is durable."""
        answer: asyncio.Future[Digest] = asyncio.get_running_loop().create_future()
        self._waiting.append((put, answer))
        if self._handing_out is None:
            self._handing_out = asyncio.create_task(self._hand_out(), name="daicho-blob-groups")
        return await answer

    async def close(self) -> None:
        """Wait for all puts that were handed in."""
        while under_way := [*self._by_themselves, *([self._handing_out] if self._handing_out else [])]:
            await asyncio.wait(under_way)

    async def _hand_out(self) -> None:
        try:
            if self._groups is None:
                self._groups = await self._run(self._may_group)
            while self._waiting:
                group, self._waiting = self._waiting[:PUTS_MAX], self._waiting[PUTS_MAX:]
                if not self._groups:
                    self._begin_alone(group)
                elif len(group) < PUTS_MIN:
                    await asyncio.wait(self._begin_alone(group))
                else:
                    await self._end(self._run(partial(self._together, [put for put, _ in group])), group)
        except BaseException as error:  # what must not happen must not leave them waiting either
            self._fail(self._waiting, error)
            self._waiting = []
        finally:
            self._handing_out = None

    def _begin_alone(self, group: list[_Waiting]) -> list[asyncio.Task[None]]:
        begun = []
        for put, answer in group:
            task = asyncio.create_task(self._end(self._run(partial(self._alone, put)), [(put, answer)]))
            self._by_themselves.add(task)
            task.add_done_callback(self._by_themselves.discard)
            begun.append(task)
        return begun

    async def _end(self, work: Awaitable[None], group: list[_Waiting]) -> None:
        try:
            await work
        except BaseException as error:
            self._fail(group, error)
            return
        for put, answer in group:
            if put.error is not None:
                self._fail([(put, answer)], self._told(put.error))
            elif not answer.done():
                answer.set_result(put.digest)

    def _fail(self, group: list[_Waiting], error: BaseException) -> None:
        for _, answer in group:
            if not answer.done():  # its caller was cancelled
                answer.set_exception(error)

    def _told(self, error: OSError) -> BlobError:
        told = self._tell(error)
        told.__cause__ = error
        return told
