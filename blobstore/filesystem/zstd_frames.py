"""A blob compressed at rest, in the seekable format of zstd (contrib/seekable_format, version 0.1.0):

    frame, one per MiB of content | frame | … | skippable frame with the seek table

    seek table:  184D2A5E  size of the rest   (each number little-endian, 4 bytes)
                 compressed size, content size   of the first frame
                 …
                 number of frames, 1 byte of flags (0), 8F92EAB1

Any zstd program decompresses it. From the table, read at the end, come its content's size and where to begin
for a part of it.
"""

import os
import struct
from collections.abc import Generator, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

from blobstore.errors import BlobStoreMisconfigured

SUFFIX = ".zst"
FRAME_BYTES = 1 << 20
LEVEL = 3

_TABLE_MAGIC, _FOOTER_MAGIC = 0x184D2A5E, 0x8F92EAB1
_HEAD, _ENTRY, _FOOT = struct.Struct("<II"), struct.Struct("<II"), struct.Struct("<IBI")


class DamagedFrames(Exception):
    """These bytes are no content compressed by us."""


def require_zstandard() -> Any:
    """The module. Raises BlobStoreMisconfigured where it is not installed."""
    try:
        import zstandard
    except ImportError:
        raise BlobStoreMisconfigured(
            "There are compressed blobs, or there are to be, and zstd is not installed",
            expected="the Python package zstandard",
            fix="Install daicho[zstd]",
        ) from None
    return zstandard


def frame(block: bytes) -> bytes:
    """One frame. The block must not exceed FRAME_BYTES."""
    compressed: bytes = require_zstandard().ZstdCompressor(LEVEL).compress(block)
    return compressed


def table(sizes: Iterable[tuple[int, int]]) -> bytes:
    """The seek table of frames with these sizes, compressed and not."""
    entries = [_ENTRY.pack(*each) for each in sizes]
    foot = _FOOT.pack(len(entries), 0, _FOOTER_MAGIC)
    return _HEAD.pack(_TABLE_MAGIC, len(entries) * _ENTRY.size + _FOOT.size) + b"".join(entries) + foot


def content_size(path: Path) -> int:
    """In bytes. Raises DamagedFrames, FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sum(size for _, size in _read_table(descriptor))
    finally:
        os.close(descriptor)


def read_blocks(path: Path, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
    """The content's bytes from `start` to `stop`, a frame in memory at a time.

    Raises DamagedFrames; FileNotFoundError before the first block.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        zstandard = require_zstandard()
        sizes = _read_table(descriptor)
        offsets = accumulate((compressed for compressed, _ in sizes), initial=0)
        begins = accumulate((size for _, size in sizes), initial=0)
        for (compressed, size), offset, begin in zip(sizes, offsets, begins, strict=False):
            first, last = max(start - begin, 0), size if stop is None else min(stop - begin, size)
            if first < last:
                yield _decompressed(zstandard, os.pread(descriptor, compressed, offset), size)[first:last]
    finally:
        os.close(descriptor)


def _decompressed(zstandard: Any, compressed: bytes, size: int) -> bytes:
    if size > FRAME_BYTES:  # not ours, and it may claim any number
        raise DamagedFrames(f"a frame of {size} bytes")
    try:
        block: bytes = zstandard.ZstdDecompressor().decompress(compressed, max_output_size=size)
    except zstandard.ZstdError as error:
        raise DamagedFrames(str(error)) from error
    if len(block) != size:
        raise DamagedFrames(f"a frame of {len(block)} bytes where the table says {size}")
    return block


def _read_table(descriptor: int) -> list[tuple[int, int]]:
    end = os.fstat(descriptor).st_size
    foot = os.pread(descriptor, _FOOT.size, max(end - _FOOT.size, 0))
    if len(foot) != _FOOT.size:
        raise DamagedFrames("no seek table")
    count, flags, magic = _FOOT.unpack(foot)
    length = count * _ENTRY.size
    begin = end - _FOOT.size - length - _HEAD.size
    if magic != _FOOTER_MAGIC or flags != 0 or begin < 0:
        raise DamagedFrames("no seek table")
    head = os.pread(descriptor, _HEAD.size + length, begin)
    sizes = list(_ENTRY.iter_unpack(head[_HEAD.size :]))
    if _HEAD.unpack(head[: _HEAD.size]) != (_TABLE_MAGIC, length + _FOOT.size):
        raise DamagedFrames("no seek table")
    if sum(compressed for compressed, _ in sizes) != begin:
        raise DamagedFrames("frames that do not fill the file")
    return [(compressed, size) for compressed, size in sizes]
