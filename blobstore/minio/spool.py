"""A body on its way to the server: bytes in memory, or a stream kept aside until its end is known.

A blob's key is its hash, so nothing of a stream can be sent to it before the last byte has come. It waits in
an unnamed file of the temporary folder (TMPDIR) once it exceeds SPOOLED_BYTES_MAX: not in the bucket, where
it would have to be copied to its key, and could not be removed again where objects are locked.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from blobstore.digest import Digest, digest_of, digest_of_chunks
from blobstore.errors import BlobStoreUnavailable

SPOOLED_BYTES_MAX = 1 << 20
SENT_BLOCK_BYTES = 256 << 10


class Body(Protocol):
    """Bytes of a known length and hash, read from anywhere by any number of threads."""

    @property
    def size(self) -> int: ...

    @property
    def digest(self) -> Digest: ...

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start`, fewer than `length` where they end."""
        ...


class Part:
    """Some of a body, as the SDK takes one for sending: its length, and its blocks as often as asked for."""

    def __init__(self, body: Body, start: int, length: int) -> None:
        self._body, self._start = body, start
        self._length = min(length, body.size - start)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        end = self._start + self._length
        for start in range(self._start, end, SENT_BLOCK_BYTES):
            yield self._body.read(start, min(SENT_BLOCK_BYTES, end - start))

    def digest(self) -> Digest:
        """The sha256 of the part. Reads it."""
        return digest_of_chunks(self)


class BytesBody:
    """Implements Body. Made in a thread, where the content is large: it is hashed."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.digest = digest_of(content)

    def read(self, start: int, length: int) -> bytes:
        """See Body.read."""
        return self._content[start : start + length]


class Spool:
    """Implements Body, once all of it is written. Its calls block; `write` is for one thread at a time."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: int | None = None
        self._running = hashlib.sha256()
        self.size = 0

    def write(self, block: bytes) -> None:
        """Append. Raises BlobStoreUnavailable where the temporary folder is full or failing."""
        self._running.update(block)
        self.size += len(block)
        if self._file is None and self.size > SPOOLED_BYTES_MAX:
            with _told():
                self._file = _unnamed_file()
                _write_all(self._file, self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += block
        else:
            with _told():
                _write_all(self._file, block)

    @property
    def digest(self) -> Digest:
        return Digest(self._running.hexdigest())

    def read(self, start: int, length: int) -> bytes:
        """See Body.read. Raises BlobStoreUnavailable."""
        if self._file is None:
            return bytes(self._memory[start : start + length])
        with _told():
            return os.pread(self._file, length, start)

    def close(self) -> None:
        """Let go of the bytes."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _unnamed_file() -> int:
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def _write_all(file: int, content: bytes | bytearray) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlobStoreUnavailable(
            f"A stream cannot be kept in {tempfile.gettempdir()} until its end is known",
            found=str(error.strerror),
            fix="Make room there, or let TMPDIR name a folder with more",
        ) from error
