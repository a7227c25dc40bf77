"""Blobs that cannot be removed before a date, in a bucket made for that."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from minio.commonconfig import GOVERNANCE
from minio.retention import Retention
from test_s3_uploads import DIGEST as LARGE_DIGEST
from test_s3_uploads import LARGE

from blobstore import (
    BlobNotFound,
    BlobRetained,
    BlobStoreMisconfigured,
    MinioConnection,
    ObjectLock,
    digest_of,
)
from blobstore.keys import blob_key
from tests.blobstore.conftest import SERVERS, Bucket
from tests.servers import gaps

BODY = b"<p>kept</p>"
DIGEST = digest_of(BODY)
KEY = blob_key("acme", DIGEST)
A_DAY = ObjectLock("governance", 1)
LOCKING = [server for server in SERVERS if gaps.LOCK not in gaps.GAPS.get(server, {})]


@dataclass(frozen=True)
class Locked:
    bucket: Bucket
    name: str

    def connection(self, **changed: object) -> MinioConnection:
        return self.bucket.connection(**({"bucket": self.name, "object_lock": A_DAY} | changed))

    def versions(self) -> list[str]:
        found = self.bucket.client.list_objects(self.name, recursive=True, include_version=True)
        return [each.version_id or "" for each in found]


@pytest.fixture(params=LOCKING)
async def locked(request: pytest.FixtureRequest) -> AsyncIterator[Locked]:
    bucket: Bucket = request.getfixturevalue(request.param)
    locked = Locked(bucket, f"daicho-test-{secrets.token_hex(6)}")
    connection = locked.connection()
    await connection.prepare()
    await connection.close()
    yield locked
    bucket.empty(locked.name)
    bucket.client.remove_bucket(locked.name)


async def test_what_is_put_is_locked_for_as_long_as_was_said(locked: Locked) -> None:
    connection = locked.connection()
    await connection.store("acme").put(BODY)
    await connection.store("acme").put(LARGE)
    for digest in (DIGEST, LARGE_DIGEST):
        told = locked.bucket.client.stat_object(locked.name, blob_key("acme", digest)).metadata
        assert told is not None
        assert told["x-amz-object-lock-mode"] == "GOVERNANCE"
        left = datetime.fromisoformat(told["x-amz-object-lock-retain-until-date"]) - datetime.now(UTC)
        assert timedelta(hours=23) < left <= timedelta(days=1, minutes=1)
    await connection.close()


async def test_a_locked_blob_is_not_deleted_and_the_date_is_told(locked: Locked) -> None:
    connection = locked.connection()
    store = connection.store("acme")
    await store.put(BODY)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    until = (await store.stat(DIGEST)).retained_until
    assert until is not None
    assert until.date().isoformat() == tomorrow
    with pytest.raises(BlobRetained, match=tomorrow) as told:
        await store.delete(DIGEST)
    assert not told.value.retryable
    assert await store.get(DIGEST) == BODY
    await connection.close()


async def test_a_young_blob_put_again_makes_no_version_and_an_old_one_is_locked_anew(locked: Locked) -> None:
    connection, impatient = locked.connection(), locked.connection(renewed_seconds=-1)
    await connection.store("acme").put(BODY)
    await connection.store("acme").put(BODY)
    assert len(locked.versions()) == 1
    await impatient.store("acme").put(BODY)
    assert len(locked.versions()) == 2
    for each in (connection, impatient):
        await each.close()


async def test_once_no_version_is_locked_all_of_them_are_deleted(locked: Locked) -> None:
    connection = locked.connection()
    until = datetime.now(UTC) + timedelta(seconds=2)
    for _ in range(2):
        written = locked.bucket.client.put_object(
            locked.name, KEY, BytesIO(BODY), len(BODY), retention=Retention(GOVERNANCE, until)
        )
    store = connection.store("acme")
    with pytest.raises(BlobRetained):
        await store.delete(DIGEST)
    assert written.version_id in locked.versions()
    await asyncio.sleep((until - datetime.now(UTC)).total_seconds() + 1.1)
    await store.delete(DIGEST)
    assert locked.versions() == []
    with pytest.raises(BlobNotFound):
        await store.stat(DIGEST)
    await store.delete(DIGEST)
    await connection.close()


async def test_a_bucket_that_cannot_lock_is_told_before_anything_is_written(bucket: Bucket) -> None:
    connection = bucket.connection(object_lock=A_DAY)
    for call in (connection.check, connection.prepare):
        with pytest.raises(BlobStoreMisconfigured, match="cannot lock"):
            await call()
    await connection.close()


@pytest.mark.parametrize(("mode", "days"), [("worm", 1), ("governance", 0), ("compliance", 100_000)])
def test_what_is_no_lock_is_refused(mode: str, days: int) -> None:
    with pytest.raises(BlobStoreMisconfigured, match="governance or compliance"):
        ObjectLock(mode, days)  # type: ignore[arg-type]
