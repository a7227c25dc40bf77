"""TlsGate: what stands before a PostgreSQL that speaks TLS. The server of these tests is built without it.

A client asks for TLS before it says anything else (PostgreSQL documentation, "SSL Session Encryption"): int32
8, int32 80877103; the answer is one byte, S or N. After S both speak TLS, and within it as ever.
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


class TlsGate:
    """`context` None: it speaks no TLS and says so."""

    def __init__(self, server_socket: Path, context: ssl.SSLContext | None) -> None:
        self.let_in = 0
        """How many connections there were, each with its handshake."""
        self.port = 0
        self._server_socket = server_socket
        self._context = context
        self._relays: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        await self.cut()

    async def cut(self) -> int:
        """Ends every connection where it is, with no word of TLS; returns how many."""
        relays = tuple(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        return len(relays)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            assert await reader.readexactly(8) == _SSL_REQUEST, "a client that asks for no TLS"
            writer.write(b"N" if self._context is None else b"S")
            if self._context is None:
                await writer.drain()
                await reader.read()
                return
            await writer.start_tls(self._context)
            self.let_in += 1
            back, there = await asyncio.open_unix_connection(self._server_socket)
            pumps = [asyncio.create_task(_pump(reader, there)), asyncio.create_task(_pump(back, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a handshake that came to nothing, or the end
        finally:
            self._relays.discard(task)
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
