"""The keyword service: a small TCP server on this machine that ranks the keywords of a text.

It starts cold, as services do that are woken by their first caller: that connection begins the
counting of the corpus, and until it is done every caller's connection is reset (TCP RST). Whoever
calls first therefore always meets a real ConnectionResetError, and a caller that waits and tries
again is served. A request is the text, then end of stream; the answer is a JSON list of keywords.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import orjson

from ledger.demo.keywords import Corpus, Keyword, count_corpus, rank_keywords
from ledger.demo.texts import FILE_BYTES_MAX, Texts

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
CALLERS_WAITING_MAX = 64
_LINGER_ZERO = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST, not FIN


class Address(NamedTuple):
    host: str
    port: int


class KeywordService:
    """`async with KeywordService(texts) as service:` listens at `service.address`."""

    def __init__(self, texts: Texts) -> None:
        self.resets = 0
        self._texts = texts
        self._server: asyncio.Server | None = None
        self._counting: asyncio.Task[Corpus] | None = None

    @property
    def address(self) -> Address:
        assert self._server is not None, "the service was not entered"
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, backlog=CALLERS_WAITING_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self._counting is not None:
            await asyncio.wait({self._counting})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if self._counting is None:
                self._counting = asyncio.create_task(asyncio.to_thread(count_corpus, readable(self._texts)))
            if not self._counting.done():
                self.resets += 1
                _reset(writer)
                return
            await self._answer(self._counting.result(), reader, writer)

    async def _answer(
        self, corpus: Corpus, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request = await _read_all(reader)
        if len(request) > FILE_BYTES_MAX:
            _reset(writer)
            return
        ranked = await asyncio.to_thread(rank_keywords, request.decode(), corpus)
        writer.write(orjson.dumps(ranked))
        await writer.drain()
        writer.close()


async def ask_keywords(address: Address, text: bytes) -> list[Keyword]:
    """What the service ranks. Raises ConnectionError where it resets or closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    if not answer:
        raise ConnectionResetError("the keyword service closed the connection without an answer")
    ranked: list[Keyword] = orjson.loads(answer)
    return ranked


def readable(texts: Texts) -> Iterator[str]:
    """The texts that can be read; the others fail in their own runs."""
    for name in texts.names:
        path = texts.path(name)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if path.stat().st_size <= FILE_BYTES_MAX:
                yield path.read_text(encoding="utf-8")


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Up to the end of the stream, or just past the most that is allowed."""
    received = bytearray()
    while len(received) <= FILE_BYTES_MAX and (chunk := await reader.read(CHUNK_BYTES)):
        received += chunk
    return bytes(received)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    writer.transport.abort()
