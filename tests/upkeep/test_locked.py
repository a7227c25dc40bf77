"""Collecting garbage where blobs are locked (S3 object lock): they stay, and are in nobody's way."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from blobstore import BlobStat, Digest, MinioBlobStore, ObjectLock
from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.upkeep.collecting import collect_garbage
from tests.blobstore.conftest import Bucket
from tests.blobstore.conftest import ceph as ceph


@pytest.fixture
async def locked(ceph: Bucket, home: Path, postgres: EmbeddedPostgres) -> AsyncIterator[Tenant]:
    """A fresh tenant whose blobs are locked for a day."""
    name = f"daicho-test-{secrets.token_hex(6)}"
    connection = ceph.connection(bucket=name, object_lock=ObjectLock("governance", 1))
    await connection.prepare()
    await connection.close()
    settings = Settings(
        home=home,
        blobs="minio",
        minio_endpoint=ceph.server.endpoint,
        minio_access_key=ceph.server.access_key,
        minio_secret_key=ceph.server.secret_key,
        minio_bucket=name,
        minio_object_lock="governance",
        minio_object_lock_days=1,
    )
    async with await Ledger.open(settings) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant of a test")
        yield await ledger.tenant(tenant_id)
    ceph.empty(name)
    ceph.client.remove_bucket(name)


async def test_locked_garbage_is_counted_and_stays(locked: Tenant) -> None:
    digest = await locked.blobs.put(b"garbage")
    report = await collect_garbage(locked, grace_seconds=0)
    assert (report.garbage, report.retained, report.deleted, report.finished) == (1, 1, 0, True)
    assert await locked.blobs.exists(digest)


async def test_a_blob_locked_after_it_was_condemned_stays_and_can_be_referred_to(
    locked: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = MinioBlobStore.stat

    async def not_locked_yet(store: MinioBlobStore, digest: Digest) -> BlobStat:
        return replace(await stat(store, digest), retained_until=None)

    digest = await locked.blobs.put(b"garbage")
    with monkeypatch.context() as patched:
        patched.setattr(MinioBlobStore, "stat", not_locked_yet)
        report = await collect_garbage(locked, grace_seconds=0)
    assert (report.garbage, report.retained, report.deleted, report.finished) == (1, 1, 0, True)
    ref = await locked.artifacts.put(b"garbage", f"storage/{locked.tenant_id}/run/step/a")
    assert ref.digest == digest
    assert await locked.artifacts.get(ref) == b"garbage"
