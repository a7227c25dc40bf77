"""Blobs compressed at rest: the digest is of the content, the file is zstd's, and both kinds live side by
side."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from test_folder import files_under

from blobstore import (
    BlobCorrupt,
    BlobStoreMisconfigured,
    FilesystemBlobStore,
    FilesystemRoot,
    digest_of,
)
from blobstore.filesystem import zstd_frames
from blobstore.filesystem.files import NewBlob, compressed, read, stat
from blobstore.filesystem.zstd_frames import FRAME_BYTES, DamagedFrames

TEXT = b"the same words again and again, " * 100_000  # 3.2 MB: four frames
NOISE = random.Random(7).randbytes(300_000)


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[tuple[FilesystemBlobStore, FilesystemBlobStore]]:
    """One that compresses, and one that does not, in the same folder."""
    roots = FilesystemRoot(tmp_path, compression="zstd"), FilesystemRoot(tmp_path)
    yield roots[0].store("acme"), roots[1].store("acme")
    for root in roots:
        await root.close()


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 70_000):
        yield body[start : start + 70_000]


@pytest.mark.parametrize("kind", ["bytes", "a stream"])
@pytest.mark.parametrize("body", [b"", TEXT[:5000], TEXT], ids=len)
async def test_what_shrinks_is_compressed_for_any_zstd_program(stores, body: bytes, kind: str) -> None:
    packing, _ = stores
    digest = await packing.put(body if kind == "bytes" else chunks(body))
    assert digest == digest_of(body)
    [file] = files_under(packing.path_of(digest).parent)
    if not body:
        assert file == packing.path_of(digest)
        return
    assert file == compressed(packing.path_of(digest))
    assert file.stat().st_size < len(body) / 10
    with file.open("rb") as packed:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        assert reader.read() == body
    if program := shutil.which("zstd"):
        assert subprocess.run([program, "-dc", file], capture_output=True, check=True).stdout == body


@pytest.mark.parametrize("kind", ["bytes", "a stream"])
async def test_what_does_not_shrink_is_kept_as_it_is(stores, kind: str) -> None:
    packing, _ = stores
    digest = await packing.put(NOISE if kind == "bytes" else chunks(NOISE))
    assert files_under(packing.path_of(digest).parent) == [packing.path_of(digest)]


async def test_each_store_reads_what_the_other_wrote_and_writes_it_no_second_time(stores) -> None:
    packing, plain = stores
    for first, second in ((packing, plain), (plain, packing)):
        body = TEXT[:4000] + first.describe().encode() + bytes([first is packing])
        digest = await first.put(body)
        before = files_under(first.path_of(digest).parent)
        assert await second.put(body) == digest
        assert files_under(first.path_of(digest).parent) == before
        assert await second.get(digest) == body
        assert (await second.stat(digest)).size_bytes == len(body)
        assert [each.digest async for each in second.iterate()] == [digest]
        await second.delete(digest)
        assert files_under(first.path_of(digest).parent) == []


async def test_a_damaged_plain_blob_gives_way_to_a_compressed_one(stores) -> None:
    packing, plain = stores
    digest = await plain.put(TEXT)
    plain.path_of(digest).write_bytes(b"spoilt")
    await packing.put(TEXT)
    assert files_under(plain.path_of(digest).parent) == [compressed(plain.path_of(digest))]
    assert await plain.get(digest) == TEXT


DAMAGES = {
    "emptied": lambda packed: b"",
    "cut in its table": lambda packed: packed[:-1],
    "cut in its frames": lambda packed: packed[100:],
    "without a table": lambda packed: packed[: len(packed) // 2],
    "a flipped bit in a frame": lambda packed: packed[:40] + bytes([packed[40] ^ 4]) + packed[41:],
    "a flipped bit in the table": lambda packed: packed[:-12] + bytes([packed[-12] ^ 4]) + packed[-11:],
    "another content's": lambda packed: _packed(b"another content, " * 1000),
}


def _packed(body: bytes) -> bytes:
    frame = zstd_frames.frame(body)
    return frame + zstd_frames.table([(len(frame), len(body))])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_file_is_a_corrupt_blob_and_is_listed_and_made_whole(stores, damage) -> None:
    packing, _ = stores
    digest = await packing.put(TEXT)
    file = compressed(packing.path_of(digest))
    file.write_bytes(damage(file.read_bytes()))
    for call in (packing.get, packing.verify):
        with pytest.raises(BlobCorrupt) as told:
            await call(digest)
        assert told.value.expected == digest
    assert not await packing.exists(digest)
    assert [each.digest async for each in packing.iterate()] == [digest]
    assert await packing.put(TEXT) == digest
    assert await packing.get(digest) == TEXT


async def test_a_blob_that_claims_to_be_huge_is_not_believed(stores) -> None:
    packing, _ = stores
    digest = await packing.put(TEXT)
    bomb = zstandard.ZstdCompressor(19).compress(bytes(1 << 28))
    file = compressed(packing.path_of(digest))
    file.write_bytes(bomb + zstd_frames.table([(len(bomb), 1 << 28)]))
    with pytest.raises(BlobCorrupt, match="frame of 268435456 bytes"):
        await packing.get(digest)
    file.write_bytes(bomb + zstd_frames.table([(len(bomb), FRAME_BYTES)]))
    with pytest.raises(BlobCorrupt):
        await packing.get(digest)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 3 * FRAME_BYTES), cuts=st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)))
def test_any_part_of_it_is_what_a_slice_is(
    tmp_path_factory: pytest.TempPathFactory, size: int, cuts: tuple[float, float]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    blob = NewBlob(folder, compress=True)
    body = TEXT[:size]
    blob.write_all(body)
    blob.end(sync=False)
    blob.publish(folder / "blob")
    start, stop = sorted(int(cut * size) for cut in cuts)
    assert b"".join(read(folder / "blob", start, stop)) == body[start:stop]
    assert b"".join(read(folder / "blob", start)) == body[start:]
    assert stat(folder / "blob")[0] == size
    blob.discard()
    shutil.rmtree(folder)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_upset_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / f"any.{os.getpid()}"
    for packed in (content, content + zstd_frames.table([(len(content), 7)])):
        file.write_bytes(packed)
        with pytest.raises(DamagedFrames):
            list(zstd_frames.read_blocks(file))


async def test_where_zstd_is_not_installed_it_is_named_and_nothing_else_is_tried(
    stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing, plain = stores
    digest, kept = await packing.put(TEXT), await plain.put(b"plain")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(BlobStoreMisconfigured, match=r"daicho\[zstd\]"):
        FilesystemRoot(tmp_path, compression="zstd")
    with pytest.raises(BlobStoreMisconfigured, match=r"daicho\[zstd\]"):
        await plain.get(digest)
    assert await plain.get(kept) == b"plain"
