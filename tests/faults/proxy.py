"""Proxy: stands between daicho and PostgreSQL, reads what they say, and cuts in at a chosen moment.

It knows of the wire protocol (PostgreSQL documentation, "Frontend/Backend Protocol") what it needs:
a client names its statements with Parse ('P'), runs one with Bind ('B'), and the server has committed
what a Sync asked for when it answers ReadyForQuery ('Z').

    startup   int32 length | int32 code | …         no type byte; an SSLRequest may come before
    later     byte type | int32 length | …          the length counts itself
"""

import asyncio
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

_SSL_REQUEST = 80877103


class Moment(Enum):
    """When a connection is cut, seen from the statement that is waited for."""

    BEFORE_THE_REQUEST = auto()
    """The server never hears of it."""
    AFTER_THE_REQUEST = auto()
    """The server works on it while its client connects again."""
    AFTER_THE_COMMIT = auto()
    """Committed; of the answer nothing arrives."""
    WITHIN_THE_ANSWER = auto()
    """Committed; of the answer all but ReadyForQuery arrives."""
    NEVER = auto()
    """Committed; nothing arrives, and nobody hangs up: a network that lost the way."""


class Proxy:
    """`arm` says which statement (by a part of its text) meets what; it happens once."""

    def __init__(self, server_socket: Path) -> None:
        self.happened = 0
        self._server_socket = server_socket
        self._statement: str | None = None
        self._moment = Moment.AFTER_THE_COMMIT
        self._listener: asyncio.Server
        self._relays: set[asyncio.Task[None]] = set()

    async def listen_at_port(self) -> str:
        """The URL of the control database through the proxy."""
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}/daicho_control"

    async def listen_in_folder(self, folder: Path) -> str:
        self._listener = await asyncio.start_unix_server(self._relay, folder / ".s.PGSQL.5432")
        return f"postgresql://postgres@/daicho_control?host={folder}"

    def arm(self, statement: str, moment: Moment) -> None:
        self._statement, self._moment = statement, moment

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for task in tuple(self._relays):
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._server_socket)
        except OSError:
            writer.transport.abort()
            self._relays.discard(task)
            return
        connection = _Connection(self, (reader, writer), (server_reader, server_writer))
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._relays.discard(task)
            writer.transport.abort()
            server_writer.transport.abort()

    def _meets(self, statement: str) -> Moment | None:
        if self._statement is None or self._statement not in statement:
            return None
        self._statement = None
        self.happened += 1
        return self._moment


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._statements: dict[bytes, str] = {}
        self._unread = b""
        self._started = False
        self._moment: Moment | None = None
        self._answer = b""

    async def run(self) -> None:
        pumps = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            with suppress(ConnectionError):
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self) -> None:
        while chunk := await self._client_reader.read(65536):
            if self._moment is None:
                self._moment = self._moment_met(chunk)
            if self._moment is Moment.BEFORE_THE_REQUEST:
                return
            self._server_writer.write(chunk)
            await self._server_writer.drain()
            if self._moment is Moment.AFTER_THE_REQUEST:
                return

    async def _answers(self) -> None:
        while chunk := await self._server_reader.read(65536):
            if self._moment is None:
                self._client_writer.write(chunk)
                await self._client_writer.drain()
                continue
            self._answer += chunk
            messages = list(_messages(self._answer))
            if not messages or messages[-1][:1] != b"Z":
                continue
            if self._moment is Moment.NEVER:
                await asyncio.Event().wait()
            if self._moment is Moment.WITHIN_THE_ANSWER:
                self._client_writer.write(b"".join(messages[:-1]))
                await self._client_writer.drain()
                await asyncio.sleep(0.05)  # it arrives before the connection ends
            return

    def _moment_met(self, chunk: bytes) -> Moment | None:
        self._unread += chunk
        if not self._started:
            while len(self._unread) >= 8:
                length, code = struct.unpack("!ii", self._unread[:8])
                if len(self._unread) < length:
                    return None
                self._unread = self._unread[length:]
                if code != _SSL_REQUEST:
                    self._started = True
                    break
        if self._started:
            for message in _messages(self._unread):
                self._unread = self._unread[len(message) :]
                if message[:1] == b"P":
                    name, statement = message[5:].split(b"\0")[:2]
                    self._statements[name] = statement.decode()
                elif message[:1] == b"B":
                    _portal, name = message[5:].split(b"\0")[:2]
                    if moment := self._proxy._meets(self._statements.get(name, "")):
                        return moment
        return None


def _messages(data: bytes) -> Iterator[bytes]:
    """The whole messages that `data` begins with."""
    while len(data) >= 5:
        length = 1 + struct.unpack("!i", data[1:5])[0]
        if len(data) < length:
            return
        yield data[:length]
        data = data[length:]
