"""Tenants whose blobs lie in a folder, and in a real S3 server."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from tests.blobstore.conftest import Bucket
from tests.blobstore.conftest import swift as swift


@pytest.fixture(params=["folder", "swift"])
async def kept(
    request: pytest.FixtureRequest, home: Path, postgres: EmbeddedPostgres
) -> AsyncIterator[Tenant]:
    """A fresh tenant, in each kind of blob store."""
    settings = Settings(home=home)
    if request.param == "swift":
        bucket: Bucket = request.getfixturevalue("swift")
        settings = Settings(
            home=home,
            blobs="minio",
            minio_endpoint=bucket.server.endpoint,
            minio_access_key=bucket.server.access_key,
            minio_secret_key=bucket.server.secret_key,
            minio_bucket=bucket.name,
        )
    async with await Ledger.open(settings) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant of a test")
        yield await ledger.tenant(tenant_id)
