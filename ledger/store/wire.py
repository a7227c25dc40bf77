"""Wire: calls of prepared statements on a connection, one sent before the one before it is answered.

asyncpg, which connects, logs in and prepares, has one call under way at a time: the server idles from its
answer until the next call, and the client while it waits. So for as long as a Wire has calls it stands
between asyncpg and the socket, and speaks the extended query protocol itself: Bind, Execute, Sync for each
call (source: PostgreSQL documentation, "Message Formats"). Each call is a transaction of its own, and one
that fails does not end the next.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from ledger.store.server import Connection

Row = list[bytes]
"""The values of its columns; of NULL no bytes, for no number or time has none."""
Answered = Callable[[Row | Exception], None]

_EXECUTE_AND_SYNC = b"\0\x01\0\x01" + b"E\0\0\0\x09\0\0\0\0\0" + b"S\0\0\0\x04"  # results in binary, all rows
_BIND_COMPLETE, _COMMAND_COMPLETE, _DATA_ROW, _ERROR, _READY = b"2CDEZ"
_NOT_ASKED_FOR = b"ANS"  # notifications, notices, settings that changed: asyncpg's to hear
_message_head = struct.Struct(">BI")


class Statement:
    """A prepared statement's name and how many parameters it has, as the head of a Bind message."""

    def __init__(self, name: str, parameters: int) -> None:
        self._head = b"\0" + name.encode() + b"\0\0\x01\0\x01" + parameters.to_bytes(2)

    def message(self, parameters: Sequence[bytes]) -> bytes:
        size = 4 + len(self._head) + sum(map(len, parameters)) + 4
        return b"".join((b"B", size.to_bytes(4), self._head, *parameters, _EXECUTE_AND_SYNC))


class _Call:
    __slots__ = ("answer", "answered")

    def __init__(self, answered: Answered) -> None:
        self.answered = answered
        self.answer: Row | Exception = asyncpg.InternalClientError("no row was answered")


class Wire(asyncio.Protocol):
    """`call` sends at once; `answered` hears the row, or what PostgreSQL said, in the order of the calls."""

    def __init__(self, connection: Connection) -> None:
        self._transport: Any = connection._transport
        self._asyncpg: Any = connection._protocol
        self._calls: deque[_Call] = deque()
        self._rest = b""

    def call(self, statement: Statement, parameters: Sequence[bytes], answered: Answered) -> None:
        if not self._calls:
            self._transport.set_protocol(self)
        self._calls.append(_Call(answered))
        self._transport.write(statement.message(parameters))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while at + 5 <= end:
            kind, size = _message_head.unpack_from(data, at)
            until = at + 1 + size
            if until > end:
                break
            self._heard(kind, data, at, until)
            at = until
        self._rest = data[at:]
        if self._rest and not self._calls:  # the beginning of what asyncpg will hear the rest of
            self._asyncpg.data_received(self._rest)
            self._rest = b""

    def _heard(self, kind: int, data: bytes, at: int, until: int) -> None:
        if kind == _READY:
            self._next()
        elif kind == _DATA_ROW:
            self._calls[0].answer = _columns(data, at + 5)
        elif kind == _ERROR:
            self._calls[0].answer = _error(data[at + 5 : until])
        elif kind in _NOT_ASKED_FOR:
            self._asyncpg.data_received(data[at:until])
        elif kind not in (_BIND_COMPLETE, _COMMAND_COMPLETE):
            raise asyncpg.InternalClientError(f"message {chr(kind)!r} was not expected")

    def _next(self) -> None:
        call = self._calls.popleft()
        if not self._calls:
            self._transport.set_protocol(self._asyncpg)
        call.answered(call.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._asyncpg.connection_lost(exc)
        while self._calls:
            call = self._calls.popleft()
            # A server that hangs up may say why, and then nothing more.
            why = f": {call.answer}" if isinstance(call.answer, asyncpg.PostgresError) else ""
            call.answered(asyncpg.ConnectionDoesNotExistError(f"the connection ended during a call{why}"))

    def pause_writing(self) -> None:
        self._asyncpg.pause_writing()

    def resume_writing(self) -> None:
        self._asyncpg.resume_writing()


def _columns(data: bytes, at: int) -> Row:
    columns: Row = []
    count = int.from_bytes(data[at : at + 2])
    at += 2
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4], signed=True)
        at += 4
        size = max(size, 0)
        columns.append(data[at : at + size])
        at += size
    return columns


def _error(message: bytes) -> Exception:
    fields = (field.decode(errors="replace") for field in message.split(b"\0") if field)
    error: Exception = asyncpg.PostgresError.new({field[0]: field[1:] for field in fields})
    return error
