"""Asking a socket whether a PostgreSQL answers on it, and who that is.

The bytes sent are a StartupMessage and a Terminate (PostgreSQL documentation, 54.7 "Message Formats"):

    int32 length | int32 196608 (protocol 3.0) | "user" 00 "postgres" 00 "database" 00 "postgres" 00 00
    'X' int32 4

Answers are messages: one type byte, an int32 length that counts itself, and the rest. 'Z' (ReadyForQuery)
means a whole session was opened. An 'E' (ErrorResponse) with SQLSTATE 57P03 means "not yet, or no longer";
any other error comes from a server that is up and has its reasons, such as too many connections.
"""

import os
import socket
import struct
from pathlib import Path

__all__ = ["KERNEL_NAMES_LISTENER", "answers", "listener_pid"]

_PEER_CREDENTIALS: int | None = getattr(socket, "SO_PEERCRED", None)
KERNEL_NAMES_LISTENER = _PEER_CREDENTIALS is not None
"""Linux: struct ucred of unix(7), whose pid is that of the process that called listen(2)."""

_TIMEOUT_SECONDS = 5.0
_PARAMETERS = b"user\0postgres\0database\0postgres\0\0"
_STARTUP = struct.pack("!ii", 8 + len(_PARAMETERS), 196608) + _PARAMETERS
_TERMINATE = b"X" + struct.pack("!i", 4)
_CANNOT_CONNECT_NOW = b"C57P03\0"
_ANSWER_BYTES_MAX = 1 << 20


def answers(path: Path, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
    """True when a server on this socket opens sessions."""
    try:
        with _connected(path, timeout_seconds) as connection:
            connection.sendall(_STARTUP)
            return _opens_a_session(connection)
    except OSError:
        return False


def listener_pid(path: Path) -> int | None:
    """The process that listens on the socket, on the kernel's word; None when nobody listens, 0 where
    the system cannot tell (or the process is in a pid namespace out of our sight)."""
    try:
        with _connected(path, _TIMEOUT_SECONDS) as connection:
            if _PEER_CREDENTIALS is None:
                return 0
            pid, _uid, _gid = struct.unpack(
                "3i", connection.getsockopt(socket.SOL_SOCKET, _PEER_CREDENTIALS, 12)
            )
            return int(pid)
    except OSError:
        return None


def _connected(path: Path, timeout_seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(timeout_seconds, 0.05))
        connection.connect(os.fspath(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _opens_a_session(connection: socket.socket) -> bool:
    received = b""
    while len(received) < _ANSWER_BYTES_MAX:
        chunk = connection.recv(8192)
        if not chunk:
            return False
        received += chunk
        while (message := _first_message(received)) is not None:
            received = received[len(message) :]
            if message[:1] == b"E":
                return _CANNOT_CONNECT_NOW not in message
            if message[:1] == b"Z":
                connection.sendall(_TERMINATE)
                return True
    return False


def _first_message(received: bytes) -> bytes | None:
    if len(received) < 5:
        return None
    size = 1 + struct.unpack("!i", received[1:5])[0]
    return received[:size] if len(received) >= size else None
