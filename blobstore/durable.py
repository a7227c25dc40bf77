"""Files that are there whole, durably, or not at all. Every system call of the filesystem store stands here.

The order makes a crash harmless:

    1. make the folders, fsync the parent of each new one
    2. write a temporary file in the folder of the final one   (its name is no digest: nobody reads it)
    3. fsync it                                                (bytes before the name)
    4. rename it                                               (visible, whole)
    5. fsync the folder                                        (the name, too, survives a power cut)
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


def write_whole(path: Path, content: bytes) -> None:
    """Put these bytes at the path, replacing what is there, in one step. The folder must exist.

    Returns once bytes and name are durable. Raises OSError, and then the path holds what it held before, or
    the whole content. A crash may leave the temporary file behind; no reader ever takes it for a blob.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _write_new(temporary, content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(content)
        while rest:  # a write may be short: 2 GiB at most on Linux
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, CHUNK_BYTES at a time. Raises OSError, FileNotFoundError before the first chunk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> bool:
    """Make one folder; False where it is there already. Not durable before `sync_folder` of its parent."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if os.path.isdir(folder):
            return False
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: new, renamed and removed ones."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
