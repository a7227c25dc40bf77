"""Connections: those of this process to the tenants' databases of one server, under one limit.

lease  a connection for one piece of work that itself waits for no other connection
hold   one for as long as its holder likes: a session, a rebuild, a verification
idle   given back, and kept for the next who wants the same database in the same role; the one that lay
       longest is closed when there is no room for another

Whoever finds no room waits, first come, first served, for `wait_seconds` at most. A fifth of the limit is
left to leases: nobody who has a lease waits for another connection, so leases always come free, and whoever
holds a connection and needs a lease beside it (a session that emits) gets one. Two who each hold one and
want a second one to hold can wait for each other; that ends with the wait.

Any thread may use them, each with its own event loop: a connection stays with the loop that made it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import asyncpg

from ledger.errors import ConnectionLimitReached
from ledger.store.postgres_errors import CONNECTION_LOST

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect = Callable[[], Awaitable[Connection]]

LIMIT = 50
WAIT_SECONDS = 10.0
CONNECTIONS_PER_DATABASE = 3
"""Who works in a database uses about three: to read, to append and to project."""


class Key(NamedTuple):
    """What makes one idle connection as good as another."""

    database: str
    purpose: str
    loop: asyncio.AbstractEventLoop


@dataclass(eq=False, slots=True)
class _Waiter:
    """`granted` without a connection: there is room to make one."""

    key: Key
    is_hold: bool
    woken: asyncio.Future[None]
    granted: bool = False
    connection: Connection | None = None


class Connections:
    def __init__(
        self, limit: int = LIMIT, wait_seconds: float = WAIT_SECONDS, server_name: str = "the server"
    ) -> None:
        self.limit = limit
        self.wait_seconds = wait_seconds
        self.server_name = server_name
        self.holds_max = max(1, limit - max(1, limit // 5))
        self._lock = threading.Lock()
        self._open = 0  # those being made among them
        self._held = 0
        self._keys: dict[Connection, Key] = {}
        self._holding: set[Connection] = set()
        self._idle: OrderedDict[Connection, None] = OrderedDict()  # the one that lay longest first
        self._idle_of: dict[Key, list[Connection]] = {}
        self._leaving: set[Connection] = set()  # closed for somebody who waits, and not gone yet
        self._waiting: deque[_Waiter] = deque()
        self._users: Counter[str] = Counter()

    @property
    def open_count(self) -> int:
        return self._open

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def crowding(self) -> float:
        """1 where every database in use can keep its connections, 10 where ten want each of them. Who asks
        again and again asks that much less often, or all would close one another's connections."""
        return max(1.0, CONNECTIONS_PER_DATABASE * len(self._users) / self.limit)

    def join(self, database: str) -> None:
        """Somebody works in `database` from now on, until they `leave`."""
        with self._lock:
            self._users[database] += 1

    def leave(self, database: str) -> None:
        with self._lock:
            self._users[database] -= 1
            if self._users[database] <= 0:
                del self._users[database]

    @contextmanager
    def leased(self, connection: Connection) -> Iterator[Connection]:
        """One piece of work with an acquired connection, which is released after it. Do not wait for another
        connection within it."""
        try:
            yield connection
        except BaseException as error:
            # What PostgreSQL refused leaves the connection whole; all else may leave an answer in it.
            if not isinstance(error, asyncpg.PostgresError) or isinstance(error, CONNECTION_LOST):
                connection.terminate()
            raise
        finally:
            self.release(connection)

    def lease_again(self, connection: Connection) -> bool:
        """Whether `connection`, used before, lies idle and nobody waits for one: then it is leased, and
        whoever asked releases it."""
        with self._lock:
            is_free = connection in self._idle and not self._waiting and not connection.is_closed()
            if is_free:
                self._take_up(connection)
            return is_free

    async def acquire(
        self, database: str, purpose: str, connect: Connect, *, hold: bool = False
    ) -> Connection:
        """An idle connection, or one made by `connect`; it counts until it is released or closed. Raises
        ConnectionLimitReached, which is retryable."""
        key = Key(database, purpose, asyncio.get_running_loop())
        connection = None if hold else self._at_hand(key)
        if connection is not None:
            return connection
        connection = await self._room(key, hold)
        if connection is None:
            try:
                connection = await connect()
            except BaseException:
                with self._lock:
                    self._give_back_room(hold)
                raise
            connection.add_termination_listener(self._gone)
        with self._lock:
            self._keys[connection] = key
            if hold:
                self._holding.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Back to the idle ones. One that is in a transaction still is closed."""
        if connection.is_closed():
            return  # it stops counting when its end is announced
        if connection.is_in_transaction():
            connection.terminate()
            return
        with self._lock:
            if connection in self._holding:
                self._holding.discard(connection)
                self._held -= 1
            self._lay_down(connection)
            self._serve()

    async def close_idle(self, database: str | None = None) -> None:
        """Closes the idle connections of this event loop, those to `database` alone where it is named."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = [
                connection
                for connection in self._idle
                if (key := self._keys[connection]).loop is loop and database in {None, key.database}
            ]
            for connection in found:
                self._take_up(connection)
        for connection in found:
            connection.terminate()
        await asyncio.sleep(0)  # their ends are announced on the loop's next turn

    async def _room(self, key: Key, hold: bool) -> Connection | None:
        with self._lock:
            if not hold and not self._waiting and (idle := self._idle_with(key)) is not None:
                return idle
            waiter = _Waiter(key, hold, key.loop.create_future())
            self._waiting.append(waiter)
            self._serve()
            if waiter.granted:
                return waiter.connection
        try:
            async with asyncio.timeout(self.wait_seconds):
                await waiter.woken
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError):
                raise self._limit_reached(hold) from None
            raise
        return waiter.connection

    def _withdraw(self, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.granted:
                self._waiting.remove(waiter)
            elif waiter.connection is None:
                self._give_back_room(waiter.is_hold)
            else:
                if waiter.is_hold:
                    self._held -= 1
                self._lay_down(waiter.connection)
                self._serve()

    def _give_back_room(self, hold: bool) -> None:
        self._open -= 1
        self._held -= hold
        self._serve()

    def _gone(self, connection: Any) -> None:
        """PostgreSQL, the network or its user ended it."""
        with self._lock:
            if connection not in self._keys:
                return
            if connection in self._idle:
                self._take_up(connection)
            del self._keys[connection]
            self._leaving.discard(connection)
            was_held = connection in self._holding
            self._holding.discard(connection)
            self._give_back_room(was_held)

    def _serve(self) -> None:
        """Under the lock: hands what there is to those who wait, in their order."""
        leaving = len(self._leaving)
        for waiter in tuple(self._waiting):
            if waiter.is_hold and self._held >= self.holds_max:
                continue
            connection = self._idle_with(waiter.key)
            if connection is None and self._open >= self.limit:
                if leaving:
                    leaving -= 1
                elif not self._close_oldest():
                    return
                continue
            if connection is None:
                self._open += 1
            self._held += waiter.is_hold
            self._grant(waiter, connection)

    def _grant(self, waiter: _Waiter, connection: Connection | None) -> None:
        self._waiting.remove(waiter)
        waiter.granted, waiter.connection = True, connection
        loop = waiter.key.loop
        try:
            is_ours = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_ours = False
        if is_ours:
            _wake(waiter.woken)
        else:
            loop.call_soon_threadsafe(_wake, waiter.woken)

    def _at_hand(self, key: Key) -> Connection | None:
        with self._lock:
            return None if self._waiting else self._idle_with(key)

    def _idle_with(self, key: Key) -> Connection | None:
        laid = self._idle_of.get(key)
        while laid:
            connection = laid[-1]
            self._take_up(connection)
            if not connection.is_closed():
                return connection
        return None

    def _lay_down(self, connection: Connection) -> None:
        self._idle[connection] = None
        self._idle_of.setdefault(self._keys[connection], []).append(connection)

    def _take_up(self, connection: Connection) -> None:
        del self._idle[connection]
        key = self._keys[connection]
        laid = self._idle_of[key]
        laid.remove(connection)
        if not laid:
            del self._idle_of[key]

    def _close_oldest(self) -> bool:
        """Makes room; false where every connection is at work."""
        if not self._idle:
            return False
        connection = next(iter(self._idle))
        self._take_up(connection)
        self._leaving.add(connection)
        loop = self._keys[connection].loop
        # Not here and now: another thread's loop may own it, and this one holds the lock.
        loop.call_soon_threadsafe(connection.terminate)
        return True

    def _limit_reached(self, hold: bool) -> ConnectionLimitReached:
        limit, which = (self.holds_max, "to hold ") if hold else (self.limit, "")
        return ConnectionLimitReached(
            f"No connection {which}to {self.server_name} came free",
            expected=f"one of {limit} within {self.wait_seconds:g} s",
            found=f"{self._open} at work, {len(self._waiting)} more waiting",
            fix="Try again when less is going on, or raise DAICHO_SERVER_CONNECTIONS_MAX; the server's "
            "max_connections must hold the sum of all processes",
        )


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
