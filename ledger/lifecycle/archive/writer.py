"""ArchiveWriter: members one after the other, into a file that gets its name when it is whole."""

import asyncio
import gzip
import os
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from blobstore.durable import sync_folder
from ledger.errors import ArchiveExists, ArchiveUnwritable

SUMS = "SHA256SUMS"
_BLOCK = tarfile.BLOCKSIZE


class ArchiveWriter:
    """Use it as a context: left without an error, the archive is durable under its name; else nothing is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._sums: list[str] = []
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self.path.exists():
            raise ArchiveExists(
                f"{self.path} is there already", fix="Name another file, or move that one away"
            )
        try:
            self._file = self._partial.open("wb")  # what a killed export left is written over
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._opened()
        try:
            if error is None:
                self._finish(file)
            file.close()
            if error is not None:
                self._partial.unlink(missing_ok=True)
        except OSError as failure:
            raise _unwritable(self.path, failure) from failure

    def add(self, name: str, content: bytes) -> None:
        """A member that is whole in memory."""
        self._add(name, content)
        self._sums.append(f"{sha256(content).hexdigest()}  {name}\n")

    def add_lines(self, name: str, lines: list[bytes]) -> None:
        """A member of lines, compressed; the same lines give the same bytes."""
        self.add(name, gzip.compress(b"".join(lines), compresslevel=6, mtime=0))

    @asynccontextmanager
    async def member(self, name: str, size_bytes: int) -> AsyncIterator["Member"]:
        """A member of a known size that comes in chunks."""
        file = self._opened()
        member = Member(file, size_bytes)
        await member.write_raw(_header(name, size_bytes))
        yield member
        assert member.written == size_bytes, f"{name} has {member.written} bytes, not {size_bytes}"
        await member.write_raw(_padding(size_bytes))
        self._sums.append(f"{member.hexdigest()}  {name}\n")

    def _add(self, name: str, content: bytes) -> None:
        try:
            self._opened().write(b"".join((_header(name, len(content)), content, _padding(len(content)))))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _finish(self, file: BinaryIO) -> None:
        self._add(SUMS, "".join(self._sums).encode())
        file.write(bytes(_BLOCK * 2))  # the end of a tar
        file.flush()
        os.fsync(file.fileno())
        self._partial.rename(self.path)
        sync_folder(self.path.parent)

    def _opened(self) -> BinaryIO:
        assert self._file is not None, "an archive is written inside its context"
        return self._file


class Member:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._hash = sha256()
        self._size_bytes = size_bytes
        self.written = 0

    async def write(self, chunk: bytes) -> None:
        self.written += len(chunk)
        assert self.written <= self._size_bytes, "more bytes than the member's header says"
        self._hash.update(chunk)
        await self.write_raw(chunk)

    async def write_raw(self, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._file.write, data)
        except OSError as error:
            raise _unwritable(Path(self._file.name), error) from error

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mtime = int(time.time())
    info.mode = 0o600
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)


def _unwritable(path: Path, error: OSError) -> ArchiveUnwritable:
    return ArchiveUnwritable(
        f"The archive {path} cannot be written: {error.strerror or error}",
        fix="Make room, or name a file in a folder that can be written; then export again",
    )
