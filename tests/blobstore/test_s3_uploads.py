"""Bodies too large for one request: sent in parts, a few at a time, and completed or aborted as one."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator

import pytest
from scripted_server import Answer, s3_error, scripted_server
from test_s3 import ABSENT, NOW, closed_port, store_at

from blobstore import BlobAccessDenied, BlobStoreUnavailable, digest_of
from blobstore.minio import spool as spool_
from blobstore.minio import writing
from blobstore.minio.connection import PARTS_AT_ONCE_MAX
from blobstore.minio.requests import PART_BYTES, PART_BYTES_MAX, PARTS_MAX, part_bytes_for
from blobstore.minio.spool import SPOOLED_BYTES_MAX, Spool
from tests.blobstore.conftest import Bucket

SINGLE_PUT_BYTES_MAX = 16 << 20  # here, so that three parts are enough
LARGE = b"0123456789abcdef" * ((SINGLE_PUT_BYTES_MAX + PART_BYTES) // 16)
DIGEST = digest_of(LARGE)
BEGUN = Answer(200, b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
PART = Answer(200, headers=(("ETag", '"e"'),))
COMPLETED = Answer(200, b"<R><Bucket>b</Bucket><Key>k</Key><ETag>e</ETag><Location>l</Location></R>")


@pytest.fixture(autouse=True)
def _three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SINGLE_PUT_BYTES_MAX", SINGLE_PUT_BYTES_MAX)


async def stream(body: bytes, length: int = 1 << 20) -> AsyncIterator[bytes]:
    for start in range(0, len(body), length):
        yield body[start : start + length]


@pytest.mark.parametrize("kind", ["bytes", "a stream"])
async def test_a_large_body_arrives_whole_at_every_server(bucket: Bucket, kind: str) -> None:
    connection = bucket.connection()
    store = connection.store("large")
    assert await store.put(LARGE if kind == "bytes" else stream(LARGE)) == DIGEST
    assert await store.verify(DIGEST) == len(LARGE)
    assert await store.clear_unfinished(0) == 0
    await store.delete(DIGEST)
    await connection.close()


@pytest.mark.parametrize("kind", ["bytes", "a stream"])
async def test_what_fits_one_put_is_hashed_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("minio.api.sha256_hash", _nothing_but_empty)
    body = LARGE[:SINGLE_PUT_BYTES_MAX]
    with scripted_server(ABSENT, Answer(200)) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(body if kind == "bytes" else stream(body)) == digest_of(body)
    assert script.methods == ["GET", "PUT"]
    assert script.headers[1]["x-amz-content-sha256"] == digest_of(body)
    assert script.headers[1]["content-length"] == str(len(body))
    assert "transfer-encoding" not in script.headers[1]


def _nothing_but_empty(body: bytes | None) -> str:
    assert not body, "hashed a second time"
    return digest_of(b"")


async def test_parts_are_numbered_sent_whole_and_completed_in_order() -> None:
    with scripted_server(ABSENT, BEGUN, PART, PART, PART, COMPLETED) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(stream(LARGE)) == DIGEST
    assert script.methods == ["GET", "POST", "PUT", "PUT", "PUT", "POST"]
    assert {request.split("?")[1] for request in script.requests[2:5]} == {
        f"partNumber={number}&uploadId=u1" for number in (1, 2, 3)
    }
    sent = {int(headers["content-length"]) for headers in script.headers[2:5]}
    assert sent == {PART_BYTES}


async def test_a_part_that_fails_for_a_moment_is_sent_again_alone() -> None:
    busy = s3_error(503, "SlowDown")
    with scripted_server(ABSENT, BEGUN, PART, busy, PART, PART, COMPLETED) as script:
        async with store_at(script.endpoint) as store:
            await store.put(stream(LARGE))
    assert script.methods.count("PUT") == 4


async def test_an_upload_that_fails_is_aborted_and_told_as_what_it_is() -> None:
    with scripted_server(ABSENT, BEGUN, s3_error(403, "AccessDenied")) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobAccessDenied):
                await store.put(stream(LARGE))
    assert script.methods[-1] == "DELETE"
    assert script.requests[-1].endswith("?uploadId=u1")


async def test_an_upload_that_is_cancelled_is_aborted(bucket: Bucket) -> None:
    connection = bucket.connection()
    store = connection.store("cancelled")
    putting = asyncio.create_task(store.put(stream(LARGE * 2)))
    while not putting.done() and not await _unfinished(bucket, "cancelled"):
        await asyncio.sleep(0.01)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await connection.close()
    assert await _unfinished(bucket, "cancelled") == 0


async def _unfinished(bucket: Bucket, prefix: str) -> int:
    from blobstore.minio.unfinished import unfinished_uploads

    return await asyncio.to_thread(
        lambda: len(list(unfinished_uploads(bucket.client, bucket.name, f"{prefix}/")))
    )


async def test_a_completion_whose_answer_was_lost_is_checked_by_reading() -> None:
    there = Answer(200, LARGE, "x/y", headers=(("Last-Modified", NOW),))
    busy, gone = s3_error(503, "SlowDown"), s3_error(404, "NoSuchUpload")
    with scripted_server(ABSENT, BEGUN, PART, PART, PART, busy, gone, there) as script:
        async with store_at(script.endpoint) as store:
            assert await store.put(stream(LARGE)) == DIGEST
    assert script.methods[-3:] == ["POST", "POST", "GET"]


async def test_an_upload_that_somebody_aborted_is_no_blob() -> None:
    gone = s3_error(404, "NoSuchUpload")
    with scripted_server(ABSENT, BEGUN, PART, PART, PART, gone, ABSENT) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobStoreUnavailable, match="aborted"):
                await store.put(stream(LARGE))


async def test_a_completion_that_says_ok_and_then_fails_is_a_failure() -> None:
    failed = Answer(200, b"<Error><Code>InternalError</Code></Error>")
    with scripted_server(ABSENT, BEGUN, PART, PART, PART, failed) as script:
        async with store_at(script.endpoint) as store:
            with pytest.raises(BlobStoreUnavailable, match="put together"):
                await store.put(stream(LARGE))


async def test_no_more_parts_than_stated_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    digest = spool_.Part.digest

    def counted(part: spool_.Part) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.05)
        under_way -= 1
        return digest(part)

    monkeypatch.setattr(spool_.Part, "digest", counted)
    with scripted_server(ABSENT, ABSENT, ABSENT, ABSENT, BEGUN, BEGUN, BEGUN, BEGUN, PART) as script:
        async with store_at(script.endpoint) as store:
            puts = [asyncio.create_task(store.put(stream(LARGE))) for _ in range(4)]
            await asyncio.wait(puts)
    assert 1 < most <= PARTS_AT_ONCE_MAX


def test_parts_grow_so_that_no_body_has_too_many() -> None:
    assert part_bytes_for(1) == PART_BYTES
    for size in (PART_BYTES * PARTS_MAX, PART_BYTES * PARTS_MAX + 1, 10**11, PART_BYTES_MAX * PARTS_MAX):
        assert PART_BYTES <= part_bytes_for(size) <= PART_BYTES_MAX
        assert part_bytes_for(size) * PARTS_MAX >= size


# --- what waits for its end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, SPOOLED_BYTES_MAX, SPOOLED_BYTES_MAX + 1, SPOOLED_BYTES_MAX * 2])
def test_a_spool_gives_back_what_was_written_in_any_parts(size: int) -> None:
    body = os.urandom(size)
    spool = Spool()
    for start in range(0, size, 1 << 20):
        spool.write(body[start : start + (1 << 20)])
    assert (spool.size, spool.digest) == (size, digest_of(body))
    assert spool.read(0, size) == body
    assert spool.read(size // 2, size) == body[size // 2 :]
    spool.close()
    spool.close()


async def test_a_full_temporary_folder_is_told_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def write(self, *_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(spool_, "os", FullDisk())
    async with store_at(closed_port()) as store:
        with pytest.raises(BlobStoreUnavailable, match="TMPDIR") as told:
            await store.put(stream(LARGE))
    assert told.value.retryable
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # the loop's own
