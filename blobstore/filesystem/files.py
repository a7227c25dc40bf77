"""The file of a blob: its content as it is, under its digest; or compressed, under its digest and `.zst`.

Which of the two was chosen when it was written. Reading takes what is there, whatever is chosen now, the
plain one first.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from blobstore import durable
from blobstore.digest import Digest, digest_of_chunks
from blobstore.filesystem import zstd_frames
from blobstore.filesystem.zstd_frames import FRAME_BYTES, DamagedFrames


def compressed(path: Path) -> Path:
    """Where the blob at this path lies if it is compressed."""
    return path.with_name(path.name + zstd_frames.SUFFIX)


def read(path: Path, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
    """The content's bytes from `start` to `stop`. Raises DamagedFrames; FileNotFoundError before any."""
    for file in _either(path):
        with suppress(FileNotFoundError):
            if file is path:
                yield from durable.read_blocks(file, start, stop)
            else:
                yield from zstd_frames.read_blocks(file, start, stop)
            return
    raise FileNotFoundError(path)


def stat(path: Path) -> tuple[int, float]:
    """The content's size in bytes, and when its file was written last. Raises FileNotFoundError,
    DamagedFrames."""
    for file in _either(path):
        with suppress(FileNotFoundError):
            found = os.stat(file)
            return found.st_size if file is path else zstd_frames.content_size(file), found.st_mtime
    raise FileNotFoundError(path)


def stored_digest(path: Path) -> Digest | None:
    """The digest of the content that is there; None where none is, or nothing that can be decompressed."""
    try:
        return digest_of_chunks(read(path))
    except (FileNotFoundError, DamagedFrames):
        return None


def renew(path: Path, older_than_seconds: float) -> None:
    """Let the blob be as if written now, durably, where it is older. Raises FileNotFoundError."""
    for file in _either(path):
        with suppress(FileNotFoundError):
            return durable.renew(file, older_than_seconds)
    raise FileNotFoundError(path)


def remove(path: Path) -> None:
    """Remove the blob, durably, in both ways it can be there. Raises FileNotFoundError where its folder is
    not."""
    durable.remove(compressed(path))
    durable.remove(path)


class NewBlob:
    """A blob being written under a temporary name in a folder: `write`, `end`; then `publish`, or `discard`.

    What its first block does not shrink by is not compressed.
    """

    def __init__(self, folder: Path, compress: bool) -> None:
        self._file = durable.NewFile(folder)
        self._frames: list[tuple[int, int]] | None = [] if compress else None

    def write(self, block: bytes) -> None:
        """Append a block, of FRAME_BYTES or, at the end, fewer."""
        if self._frames is None:
            self._file.write(block)
            return
        frame = zstd_frames.frame(block)
        if not self._frames and len(frame) >= len(block):
            self._frames = None
            self._file.write(block)
        else:
            self._file.write(frame)
            self._frames.append((len(frame), len(block)))

    def write_all(self, content: bytes) -> None:
        """Append all of it, in blocks."""
        if self._frames is None:
            self._file.write(content)
            return
        for start in range(0, len(content), FRAME_BYTES):
            self.write(content[start : start + FRAME_BYTES])

    def end(self, *, sync: bool) -> None:
        """There is nothing more to write. Returns when the bytes are durable, where `sync` is asked for."""
        if not self._frames:
            self._frames = None  # nothing came that could be compressed
        else:
            self._file.write(zstd_frames.table(self._frames))
        if sync:
            self._file.sync()
        else:
            self._file.close()

    def publish(self, path: Path) -> None:
        """Put it at the path, or beside it, in one step. Durable after the folder is synced."""
        if self._frames is None:
            self._file.rename(path)
        else:
            self._file.rename(compressed(path))
            durable.unlink(path)  # the plain one goes first in reading: it is there only if it is damaged

    def discard(self) -> None:
        """Remove it, if it was not published."""
        self._file.discard()


def _either(path: Path) -> Iterator[Path]:
    # Again at last: meanwhile a put may have replaced the one by the other.
    yield path
    yield compressed(path)
    yield path
