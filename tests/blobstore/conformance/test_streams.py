"""Bodies in pieces, in and out, asked of every backend."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobstore import BlobCorrupt, BlobNotFound, BlobStore, Digest, InvalidDigest, digest_of
from blobstore.streams import BLOCK_BYTES

BODY = b"0123456789" * 250_000  # 2.5 MB: three blocks
ABSENT = digest_of(b"never stored")


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def read_into(seen: list[bytes], store: BlobStore, digest: Digest) -> None:
    async with store.open(digest) as chunks:
        async for chunk in chunks:
            seen.append(chunk)


async def read(store: BlobStore, digest: Digest, **part: int) -> bytes:
    async with store.open(digest, **part) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def stored(store: BlobStore) -> list[Digest]:
    return [stat.digest async for stat in store.iterate()]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b""],
        [b"one"],
        [b"", b"a", b"", b"b"],
        [BODY],
        [BODY[at : at + 99_991] for at in range(0, len(BODY), 99_991)],
        [bytes(BLOCK_BYTES), bytes(BLOCK_BYTES)],
    ],
    ids=["no chunk", "an empty chunk", "one", "with empty ones", "one large", "odd sizes", "whole blocks"],
)
async def test_a_stream_is_the_blob_of_its_bytes(blob_store: BlobStore, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert await blob_store.put(stream(chunks)) == digest_of(whole)
    assert await blob_store.get(digest_of(whole)) == whole


async def test_a_stream_of_bytes_that_are_there_is_the_same_blob(blob_store: BlobStore) -> None:
    digest = await blob_store.put(BODY)
    assert await blob_store.put(stream([BODY[:7], BODY[7:]])) == digest
    assert await stored(blob_store) == [digest]


async def test_a_stream_makes_a_damaged_blob_whole(place) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, b"spoilt")
    assert await place.store.put(stream([BODY])) == digest
    assert await place.store.verify(digest) == len(BODY)


class ProducerFailed(Exception):
    pass


async def failing(after: int) -> AsyncIterator[bytes]:
    for _ in range(after):
        yield bytes(BLOCK_BYTES)
    raise ProducerFailed


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_that_fails_raises_its_own_error_and_leaves_nothing(
    blob_store: BlobStore, after: int
) -> None:
    with pytest.raises(ProducerFailed):
        await blob_store.put(failing(after))
    assert await stored(blob_store) == []


@pytest.mark.parametrize("chunk", ["text", None, 7, bytearray(b"changes"), memoryview(b"view")])
async def test_a_stream_of_anything_but_bytes_is_refused_and_leaves_nothing(
    blob_store: BlobStore, chunk: object
) -> None:
    with pytest.raises(TypeError, match="bytes"):
        await blob_store.put(stream([b"good", chunk]))  # type: ignore[list-item]
    assert await stored(blob_store) == []


@pytest.mark.parametrize("content", ["text", None, 7, bytearray(b"changes"), [b"a list"]])
async def test_what_is_neither_bytes_nor_a_stream_is_refused(blob_store: BlobStore, content: object) -> None:
    with pytest.raises(TypeError, match="bytes"):
        await blob_store.put(content)  # type: ignore[arg-type]


async def test_a_put_cancelled_while_its_stream_waits_leaves_nothing(blob_store: BlobStore) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(BLOCK_BYTES)
        waiting.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(blob_store.put(endless()))
    await waiting.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await stored(blob_store) == []


async def test_a_blob_is_read_in_pieces(blob_store: BlobStore) -> None:
    digest = await blob_store.put(BODY)
    async with blob_store.open(digest) as chunks:
        pieces = [chunk async for chunk in chunks]
    assert b"".join(pieces) == BODY
    assert len(pieces) > 1


async def test_an_empty_blob_is_read_as_nothing(blob_store: BlobStore) -> None:
    assert await read(blob_store, await blob_store.put(b"")) == b""


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(start=st.integers(0, 60), length=st.integers(0, 60) | st.none())
async def test_a_part_is_what_a_slice_is(blob_store: BlobStore, start: int, length: int | None) -> None:
    body = bytes(range(40))
    digest = await blob_store.put(body)
    stop = None if length is None else start + length
    async with blob_store.open(digest, start=start, stop=stop) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == body[start:stop]


async def test_a_part_may_cross_blocks(blob_store: BlobStore) -> None:
    digest = await blob_store.put(BODY)
    start, stop = BLOCK_BYTES - 3, 2 * BLOCK_BYTES + 5
    assert await read(blob_store, digest, start=start, stop=stop) == BODY[start:stop]


@pytest.mark.parametrize("part", [{"start": -1}, {"stop": -1}, {"start": 5, "stop": 4}])
async def test_a_part_that_is_none_is_refused(blob_store: BlobStore, part: dict[str, int]) -> None:
    digest = await blob_store.put(BODY)
    with pytest.raises(ValueError, match="part of a blob"):
        await read(blob_store, digest, **part)


@pytest.mark.parametrize("part", [{}, {"start": 5}, {"start": 0, "stop": 0}, {"start": 3, "stop": 3}])
async def test_no_part_of_an_absent_blob_can_be_opened(blob_store: BlobStore, part: dict[str, int]) -> None:
    with pytest.raises(BlobNotFound, match=ABSENT):
        await read(blob_store, ABSENT, **part)


@pytest.mark.parametrize("damaged", [b"", b"short", BODY[:-1], BODY + b"1", BODY[:-1] + b"x"], ids=len)
async def test_a_damaged_blob_is_never_read_to_its_end(place, damaged: bytes) -> None:
    digest = await place.store.put(BODY)
    place.damage(digest, damaged)
    seen: list[bytes] = []
    with pytest.raises(BlobCorrupt) as told:
        await read_into(seen, place.store, digest)
    assert (told.value.expected, told.value.found) == (digest, digest_of(damaged))
    assert len(b"".join(seen)) < max(len(damaged), 1)


async def test_a_stream_left_early_lets_go_and_the_blob_can_be_read_again(blob_store: BlobStore) -> None:
    digest = await blob_store.put(BODY)
    for _ in range(70):  # more than there are threads, and connections
        async with blob_store.open(digest) as chunks:
            assert await anext(chunks) == BODY[:BLOCK_BYTES]
    assert await blob_store.get(digest) == BODY


async def test_many_streams_at_once_are_all_right(blob_store: BlobStore) -> None:
    bodies = [bytes([number]) * (BLOCK_BYTES + number) for number in range(20)]
    digests = await asyncio.gather(*(blob_store.put(stream([body])) for body in bodies))
    assert await asyncio.gather(*(read(blob_store, digest) for digest in digests)) == bodies


@pytest.mark.parametrize("text", ["../../etc/passwd", "A" * 64, ""])
async def test_what_is_no_digest_opens_nothing(blob_store: BlobStore, text: str) -> None:
    with pytest.raises(InvalidDigest):
        await read(blob_store, Digest(text))
