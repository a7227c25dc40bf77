"""An S3 server behind TLS: who is believed, and what is said where nobody is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from test_s3 import BODY, DIGEST
from test_s3_uploads import DIGEST as LARGE_DIGEST
from test_s3_uploads import LARGE, stream

from blobstore import BlobStoreMisconfigured, BlobStoreUnavailable, MinioConnection
from tests.blobstore.conftest import Bucket
from tests.servers.tls import Authority, tls_relay


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def behind_tls(
    bucket: Bucket, authority: Authority, host: str = "localhost", age: timedelta = timedelta(0)
) -> AsyncIterator[str]:
    async with tls_relay(bucket.server.endpoint, authority.issue(host, age=age)) as port:
        yield f"localhost:{port}"


async def test_a_server_is_believed_that_the_given_authority_vouches_for(
    bucket: Bucket, authority: Authority
) -> None:
    async with behind_tls(bucket, authority) as endpoint:
        connection = bucket.connection(endpoint=endpoint, use_ssl=True, ca_file=authority.file)
        store = connection.store("over_tls")
        await store.check()
        assert await store.put(BODY) == DIGEST
        assert await store.get(DIGEST) == BODY
        assert await store.put(stream(LARGE)) == LARGE_DIGEST
        assert await store.verify(LARGE_DIGEST) == len(LARGE)
        await connection.close()


async def said_by(bucket: Bucket, endpoint: str, **changed: object) -> str:
    connection = bucket.connection(endpoint=endpoint, use_ssl=True, deadline_seconds=0.1, **changed)
    with pytest.raises(BlobStoreUnavailable) as told:
        await connection.check()
    await connection.close()
    return str(told.value)


async def test_a_server_nobody_vouches_for_is_not_spoken_to(
    swift: Bucket, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_tls(swift, authority) as endpoint:
        assert "certificate verify failed" in await said_by(swift, endpoint)
        stranger = Authority(tmp_path, "somebody else")
        assert "MINIO_CA_FILE" in await said_by(swift, endpoint, ca_file=stranger.file)
        # What the environment says holds where no file is named, and only there.
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert "certificate verify failed" in await said_by(swift, endpoint, ca_file=stranger.file)
        connection = swift.connection(endpoint=endpoint, use_ssl=True)
        await connection.check()
        await connection.close()


async def test_a_certificate_of_another_host_or_day_is_not_believed(
    swift: Bucket, authority: Authority
) -> None:
    async with behind_tls(swift, authority, "elsewhere.example") as endpoint:
        assert "certificate verify failed" in await said_by(swift, endpoint, ca_file=authority.file)
    async with behind_tls(swift, authority, age=timedelta(days=2)) as endpoint:
        assert "expired" in await said_by(swift, endpoint, ca_file=authority.file)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_refused_before_anything_is_sent(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BlobStoreMisconfigured, match="PEM"):
        MinioConnection("localhost:1", "a", "b", bucket="some-bucket", use_ssl=True, ca_file=file)


async def test_plain_http_to_a_server_with_tls_is_told(swift: Bucket, authority: Authority) -> None:
    async with behind_tls(swift, authority) as endpoint:
        connection = swift.connection(endpoint=endpoint, deadline_seconds=0.1)
        with pytest.raises(BlobStoreUnavailable):
            await connection.check()
        await connection.close()
