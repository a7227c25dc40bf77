"""Files that are there whole, durably, or not at all. Every system call that writes a blob stands here.

The order makes a crash harmless:

    1. make the folders, fsync the parent of each new one
    2. write a temporary file below the prefix's folder        (its name is no digest: nobody reads it)
    3. fsync it                                                (bytes before the name)
    4. rename it                                               (visible, whole)
    5. fsync the folder                                        (the name, too, survives a power cut)

Many files at once go the same way together, with one syncfs in place of steps 1 and 3, and one for step 5.
"""

import contextlib
import os
import re
import secrets
import sys
import time
from collections.abc import Generator
from pathlib import Path

from blobstore.streams import BLOCK_BYTES
from blobstore.syncfs import syncfs

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def write_whole(path: Path, content: bytes) -> None:
    """Put these bytes at the path, replacing what is there, in one step. The folder must exist.

    Returns once bytes and name are durable. Raises OSError, and then the path holds what it held before, or
    the whole content.
    """
    file = NewFile(path.parent)
    try:
        file.write(content)
        file.become(path)
    except BaseException:
        file.discard()
        raise


def read_blocks(path: Path, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
    """The file's bytes from `start` to `stop`. Raises OSError, FileNotFoundError before the first block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        position = os.lseek(descriptor, start, os.SEEK_SET)
        rest = sys.maxsize if stop is None else stop - position
        while block := os.read(descriptor, min(BLOCK_BYTES, rest)):
            yield block
            rest -= len(block)
    finally:
        os.close(descriptor)


class NewFile:
    """A temporary file in a folder, on its way to become `path`: `write`, then `become` or `discard`."""

    def __init__(self, folder: Path) -> None:
        self._temporary = folder / f".{secrets.token_hex(8)}.tmp"  # as in _TEMPORARY
        self._descriptor = os.open(
            self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self._is_open = self._is_there = True

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:  # a write may be short: 2 GiB at most on Linux
            rest = rest[os.write(self._descriptor, rest) :]

    def become(self, path: Path) -> None:
        """Put the file at the path, replacing what is there, in one step; return when that is durable."""
        self.sync()
        self.rename(path)
        sync_folder(path.parent)

    def sync(self) -> None:
        """Return when the file's bytes are durable. There is nothing more to write."""
        os.fsync(self._descriptor)
        self.close()

    def rename(self, path: Path) -> None:
        """Put the file at the path, replacing what is there, in one step. Not durable before
        `sync_folder`."""
        os.replace(self._temporary, path)
        self._is_there = False
        self.close()

    def discard(self) -> None:
        """Remove the file, if it has become none. A crash leaves it behind; no reader takes it for a blob."""
        self.close()
        if self._is_there:
            self._is_there = False
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def close(self) -> None:
        """Let go of the descriptor: there is nothing more to write."""
        if self._is_open:
            self._is_open = False  # first: a descriptor closed twice may be somebody else's by then
            os.close(self._descriptor)


def renew(path: Path, older_than_seconds: float) -> None:
    """Let the file be as if written now, durably, where it is older than that. Raises FileNotFoundError."""
    if time.time() - os.stat(path).st_mtime <= older_than_seconds:
        return
    os.utime(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_unfinished(folder: Path, older_than_seconds: float) -> int:
    """Remove the folder's temporary files that were not written to for this long; return how many."""
    cleared = 0
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):  # it became a blob, or was discarded
                if time.time() - os.stat(folder / name).st_mtime >= older_than_seconds:
                    os.unlink(folder / name)
                    cleared += 1
    return cleared


def remove(path: Path) -> None:
    """Remove a file, durably. Does nothing where there is none."""
    unlink(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> bool:
    """Make one folder; False where it is there already. Not durable before `sync_folder` of its parent."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if os.path.isdir(folder):
            return False
        raise
    return True


def open_folder(folder: Path) -> int:
    """A descriptor of the folder, for `syncfs`."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def close_folder(descriptor: int) -> None:
    """The end of `open_folder`."""
    os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: new, renamed and removed ones."""
    descriptor = open_folder(folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Make everything in the descriptor's file system durable, where `syncfs.is_reliable`."""
    syncfs(descriptor)


def unlink(path: Path) -> None:
    """Remove a name. Does nothing where there is none. Not durable before `sync_folder`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
