"""Wakeups: announcements between processes, over NOTIFY on the control database.

One connection listens for all tenants, another one sends; each is opened when it is first needed and
again when it is lost. A NOTIFY stands in a transaction of its own, after the append was acknowledged:
inside it, it would take a lock of the whole cluster at every commit.

Behind a pooler that shares connections between transactions, LISTEN succeeds and nothing ever arrives.
So this process sends itself a probe over the other connection: what comes back was heard.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Iterable
from uuid import uuid4

from ledger.errors import DaichoError, StoreUnavailable
from ledger.logs import get_logger
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements

CHANNEL = "daicho"
TOPIC_SPACING_SECONDS = 0.05
"""A topic is announced at most 20 times a second, the last announcement always."""
ANNOUNCERS_MAX = 10
"""Who shares a topic with others announces it that much more rarely, but within half a second always."""
SENDING_SPACING_SECONDS = 0.01
"""All topics that are due go into one statement, and at most 100 of those leave in a second."""
SEND_SECONDS_MAX = 5.0
CLOSE_SECONDS_MAX = 1.0
PROBE_SECONDS_MAX = 2.0
PROBE_SPACING_SECONDS = 15.0
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 5.0
PAUSE_SECONDS_UNHEARD = 60.0

_SQL = load_statements("ledger.control", "queries.sql")
_PROBE = "?"
log = get_logger(__name__)


class Wakeups:
    """Of one open ledger, in one event loop. Nothing here raises, and nothing waits for it."""

    def __init__(self, server: DatabaseServer) -> None:
        self.is_heard = False
        self._server = server
        self._hearers: dict[str, list[Callable[[], None]]] = {}
        self._probe_came = asyncio.Event()
        self._probe = ""
        self._listening: asyncio.Task[None] | None = None
        self._pending: dict[str, float] = {}  # topics, and their seconds from one sending to the next
        self._announced = asyncio.Event()  # something that was not pending
        self._sent_at: dict[str, float] = {}
        self._sending: asyncio.Task[None] | None = None
        self._sender: Connection | None = None
        self._sender_in_use = asyncio.Lock()
        self._closed = False

    def announce(self, topic: str, announcers: float = 1.0) -> None:
        """Tells other processes, soon. At most one entry per topic is kept."""
        if self._closed or topic in self._pending:
            return
        self._pending[topic] = TOPIC_SPACING_SECONDS * min(announcers, ANNOUNCERS_MAX)
        self._announced.set()
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_pending(), name="daicho-announce")

    def hear(self, topic: str, heard: Callable[[], None]) -> Callable[[], None]:
        """See `Announcer.hear`. The first one opens the connection that listens."""
        hearers = self._hearers.setdefault(topic, [])
        hearers.append(heard)
        if self._listening is None and not self._closed:
            self._listening = asyncio.create_task(self._listen(), name="daicho-listen")

        def stop() -> None:
            with contextlib.suppress(ValueError):
                hearers.remove(heard)
            if not hearers and self._hearers.get(topic) is hearers:
                del self._hearers[topic]

        return stop

    async def close(self) -> None:
        """What is pending is announced still, if that takes no longer than a second."""
        self._closed = True
        for task in (self._listening, self._sending):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._pending:
            with contextlib.suppress(DaichoError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await self._notify(self._pending)
        if self._sender is not None:
            await _hang_up(self._sender)

    # Sending

    async def _send_pending(self) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        try:
            while self._pending:
                try:
                    await self._send_due()
                except DaichoError as error:
                    # Others look by themselves meanwhile; what is pending is announced when it can be.
                    log.info("announcing_failed", problem=error.problem)
                    await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
                else:
                    pause_seconds = PAUSE_SECONDS_MIN
                    await asyncio.sleep(SENDING_SPACING_SECONDS)
                    await self._until_one_is_due()
        finally:
            self._sending = None

    async def _until_one_is_due(self) -> None:
        """Or until another topic is announced, which may be due at once."""
        if self._pending:
            soonest = min(map(self._due_at, self._pending))
            self._announced.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(soonest):
                    await self._announced.wait()

    def _due_at(self, topic: str) -> float:
        return self._sent_at.get(topic, -math.inf) + self._pending[topic]

    async def _send_due(self) -> None:
        now = asyncio.get_running_loop().time()
        due = {topic: spacing for topic, spacing in self._pending.items() if self._due_at(topic) <= now}
        if not due:
            return
        longest = TOPIC_SPACING_SECONDS * ANNOUNCERS_MAX
        self._sent_at = {topic: at for topic, at in self._sent_at.items() if now - at < longest}
        for topic in due:
            del self._pending[topic]
        try:
            await self._notify(due)
        except BaseException:
            self._pending = due | self._pending
            raise
        self._sent_at.update(dict.fromkeys(due, now))

    async def _notify(self, payloads: Iterable[str]) -> None:
        async with self._sender_in_use:
            try:
                async with asyncio.timeout(SEND_SECONDS_MAX):
                    if self._sender is None or self._sender.is_closed():
                        self._sender = await self._server.connect()
                    await self._sender.execute(_SQL["notify"], CHANNEL, list(payloads))
            except POSTGRES_ERRORS as error:
                self._drop_sender()
                raise store_error(error, "announcing", self._server.name) from error
            except BaseException:
                self._drop_sender()
                raise

    def _drop_sender(self) -> None:
        if self._sender is not None:
            self._sender.terminate()
            self._sender = None

    # Hearing

    async def _listen(self) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        while True:
            try:
                await self._hear_until_lost()
            except DaichoError as error:
                was_heard = self.is_heard
                if isinstance(error, _Unheard) and not was_heard:
                    log.info("listener_hears_nothing", server=self._server.name)
                    pause_seconds = PAUSE_SECONDS_UNHEARD
                else:
                    log.info("listener_lost", problem=error.problem)
                    pause_seconds = (
                        PAUSE_SECONDS_MIN if was_heard else min(pause_seconds * 2, PAUSE_SECONDS_MAX)
                    )
            finally:
                self._tell_whether_heard(False)
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _hear_until_lost(self) -> None:
        connection = await self._server.connect()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(CHANNEL, self._came)
            while not lost.is_set():
                await self._send_probe()
                self._tell_whether_heard(True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_SPACING_SECONDS):
                        await lost.wait()
            raise StoreUnavailable("The connection that listens for wake-ups was lost")
        except POSTGRES_ERRORS as error:
            raise store_error(error, "listening for wake-ups", self._server.name) from error
        finally:
            connection.terminate()

    async def _send_probe(self) -> None:
        self._probe = f"{_PROBE}{uuid4().hex}"
        self._probe_came.clear()
        await self._notify({self._probe})
        try:
            async with asyncio.timeout(PROBE_SECONDS_MAX):
                await self._probe_came.wait()
        except TimeoutError:
            raise _Unheard("What was announced did not arrive here") from None

    def _came(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        if payload == self._probe:
            self._probe_came.set()
        elif self._sender is None or self._sender.is_closed() or pid != self._sender.get_server_pid():
            # What this process did itself it knows already.
            for heard in tuple(self._hearers.get(str(payload), ())):
                heard()

    def _tell_whether_heard(self, is_heard: bool) -> None:
        if self.is_heard != is_heard:
            self.is_heard = is_heard
            for hearers in tuple(self._hearers.values()):
                for heard in tuple(hearers):
                    heard()


class _Unheard(StoreUnavailable):
    """The connection lives and brings nothing: a pooler is in between, or the network ate it."""


async def _hang_up(connection: Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_SECONDS_MAX)
    except POSTGRES_ERRORS:
        connection.terminate()
