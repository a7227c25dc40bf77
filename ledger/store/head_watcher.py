"""HeadWatcher: the one place that says how far a tenant's log may be read, and that waits for more.

visible head   the last position that is committed and flushed: nothing up to it can be lost or given
               to another event. It is learnt from an acknowledged append, or by asking the database.
look           one small query for it, made for all who wait, and only while somebody waits
"""

import asyncio
from collections.abc import Awaitable, Callable

from ledger.errors import LedgerClosed
from ledger.store.outage import outlast
from ledger.store.wakeup import Announcer, Wakeup

POLL_SECONDS = 0.1
POLL_SECONDS_WHILE_HEARING = 1.0
LOOK_SPACING_SECONDS = 0.02
"""However many processes announce, this one looks at most 50 times a second."""


class HeadWatcher:
    """`ask` is the query for the visible head. `topic` names the log to other processes. `pace` tells how
    many times rarer than usual to look when nothing was heard of."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[int]],
        announcer: Announcer,
        *,
        topic: str,
        tenant_id: str,
        pace: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._ask = ask
        self._announcer = announcer
        self._topic = topic
        self._tenant_id = tenant_id
        self._pace = pace
        self._head = 0
        self._waiting: dict[asyncio.Future[int], int] = {}
        self._hinted = Wakeup()
        self._watch: asyncio.Task[None] | None = None
        self._stop_hearing: Callable[[], None] | None = None
        self._closed = False

    def notify(self, position: int | None = None, appenders: float = 1.0) -> None:
        """An append of this process was acknowledged, durably; with `position`, everything up to there.
        `appenders` append as much as it does, itself among them."""
        self._announcer.announce(self._topic, appenders)
        if position is None:
            self._hinted.notify()
        else:
            self._advance(position)

    def beyond(self, position: int) -> asyncio.Future[int]:
        """The visible head, as soon as it is past `position`. Outlasts outages; fails with what is not
        retryable, LedgerClosed among it. Whoever cancels it has left."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(_closed())
        elif self._head > position:
            future.set_result(self._head)
        else:
            self._waiting[future] = position
            future.add_done_callback(self._waiting.__delitem__)
            self._start()
        return future

    async def close(self) -> None:
        """Everybody who waits hears that the ledger is closed."""
        self._closed = True
        if self._stop_hearing is not None:
            self._stop_hearing()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self._fail(_closed())

    def _start(self) -> None:
        if self._stop_hearing is None:
            self._stop_hearing = self._announcer.hear(self._topic, self._hinted.notify)
        if self._watch is None:
            self._watch = asyncio.create_task(
                self._look_while_awaited(), name=f"daicho-head-{self._tenant_id}"
            )

    async def _look_while_awaited(self) -> None:
        try:
            while self._waiting:
                seen = self._hinted.generation
                self._advance(
                    await outlast(self._ask, doing="asking for the head", tenant_id=self._tenant_id)
                )
                await asyncio.sleep(LOOK_SPACING_SECONDS)
                await self._hinted.wait(seen, self._poll_seconds())
        except Exception as error:
            # Not retryable, or a fault of daicho: whoever waits must hear of it.
            self._fail(error)
        finally:
            self._watch = None

    def _poll_seconds(self) -> float:
        usual = POLL_SECONDS_WHILE_HEARING if self._announcer.is_heard else POLL_SECONDS
        return usual * self._pace()

    def _advance(self, head: int) -> None:
        # A retried append is answered with old positions; the head itself never goes back.
        self._head = max(head, self._head)
        for future, position in self._waiting.items():
            if position < head and not future.done():
                future.set_result(self._head)

    def _fail(self, error: Exception) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)


def _closed() -> LedgerClosed:
    return LedgerClosed(
        "The ledger is closed", fix="Open it again and subscribe after the last position seen"
    )
