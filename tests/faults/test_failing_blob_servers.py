"""A blob server that fails in any way: the put raises what says so, and no event names what is not there."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import minio.time
import pytest

from blobstore import (
    BlobAccessDenied,
    BlobError,
    BlobStoreMissing,
    BlobStoreUnavailable,
    MinioConnection,
)
from ledger import ArtifactStore, Tenant
from ledger.store.blob_fences import BlobFences
from tests.blobstore.conftest import Bucket, ceph, named_server, swift
from tests.blobstore.scripted_server import Answer, s3_error, scripted_server
from tests.servers.s3_server import free_ports

__all__ = ["ceph", "named_server", "swift"]

BODY = b"<p>never lost</p>"
LARGE = bytes(1 << 20)  # asked for before it is sent


@dataclass(frozen=True)
class Failure:
    """What a server does, or what is wrong with the settings, and the error that says so."""

    error: type[BlobError]
    answers: tuple[Answer, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)


SCRIPTED = {
    "slow": Failure(BlobStoreUnavailable, (Answer(200, silent_seconds=0.5),), {"read_timeout_seconds": 0.1}),
    "500 each time": Failure(BlobStoreUnavailable, (s3_error(500, "InternalError"),)),
    "503 from a proxy": Failure(BlobStoreUnavailable, (Answer(503, b"<html>", "text/html"),)),
    "an answer cut short": Failure(BlobStoreUnavailable, (Answer(200, b"<", promised_bytes=99),)),
    "a byte flipped on the way": Failure(BlobStoreUnavailable, (s3_error(400, "BadDigest"),)),
    "a full disk": Failure(BlobStoreUnavailable, (s3_error(507, "XMinioStorageFull"),)),
    "denied": Failure(BlobAccessDenied, (s3_error(403, "AccessDenied"),)),
}
REAL = {
    "wrong credentials": Failure(BlobAccessDenied, settings={"secret_key": "wrong"}),
    "a missing bucket": Failure(BlobStoreMissing, settings={"bucket": "nobody-made-this"}),
}


@asynccontextmanager
async def artifacts_of(tenant: Tenant, connection: MinioConnection) -> AsyncIterator[ArtifactStore]:
    fences = BlobFences(tenant.database, tenant.reader)
    yield ArtifactStore(tenant.tenant_id, connection.store("acme"), tenant.emitter, fences)
    await connection.close()


def path(tenant: Tenant) -> str:
    return f"storage/{tenant.tenant_id}/run/draft/output.html"


async def put_fails(artifacts: ArtifactStore, tenant: Tenant, body: bytes, error: type[BlobError]) -> None:
    with pytest.raises(error) as told:
        await artifacts.put(body, path(tenant), "text/html")
    assert told.value.retryable == (error is BlobStoreUnavailable)
    assert await tenant.store.head() == 0


@pytest.fixture(params=[BODY, LARGE], ids=["small", "large"])
def body(request: pytest.FixtureRequest) -> bytes:
    content: bytes = request.param
    return content


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("failure", SCRIPTED.values(), ids=SCRIPTED)
async def test_a_put_to_a_server_that_fails_records_nothing(
    tenant: Tenant, stack: ExitStack, failure: Failure, body: bytes
) -> None:
    script = stack.enter_context(scripted_server(*failure.answers))
    connection = MinioConnection(
        script.endpoint, "someone", "secret", bucket="some-bucket", region="us-east-1", deadline_seconds=0.3,
        **failure.settings,  # type: ignore[arg-type]
    )  # fmt: skip
    async with artifacts_of(tenant, connection) as artifacts:
        await put_fails(artifacts, tenant, body, failure.error)


async def test_a_put_to_a_server_that_is_down_records_nothing(tenant: Tenant, body: bytes) -> None:
    endpoint = f"127.0.0.1:{free_ports(['nobody'])['nobody']}"
    connection = MinioConnection(endpoint, "someone", "secret", bucket="some-bucket", region="us-east-1")
    async with artifacts_of(tenant, connection) as artifacts:
        await put_fails(artifacts, tenant, body, BlobStoreUnavailable)


@pytest.mark.parametrize("server", ["swift", "ceph"])
@pytest.mark.parametrize("failure", REAL.values(), ids=REAL)
async def test_a_put_that_a_real_server_refuses_records_nothing(
    request: pytest.FixtureRequest, tenant: Tenant, server: str, failure: Failure, body: bytes
) -> None:
    bucket: Bucket = request.getfixturevalue(server)
    async with artifacts_of(tenant, bucket.connection(**failure.settings)) as artifacts:
        await put_fails(artifacts, tenant, body, failure.error)


@pytest.mark.parametrize("server", ["swift", "ceph"])
async def test_a_clock_that_is_an_hour_off_is_told_as_such_and_records_nothing(
    request: pytest.FixtureRequest, tenant: Tenant, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket: Bucket = request.getfixturevalue(server)
    async with artifacts_of(tenant, bucket.connection()) as artifacts:
        monkeypatch.setattr(minio.time, "utcnow", lambda: datetime.now(UTC) - timedelta(hours=1))
        with pytest.raises(BlobAccessDenied, match="clock"):
            await artifacts.put(BODY, path(tenant), "text/html")
    assert await tenant.store.head() == 0


async def test_the_put_that_failed_succeeds_once_the_server_is_back(tenant: Tenant, swift: Bucket) -> None:
    down = MinioConnection("127.0.0.1:1", "someone", "secret", bucket="some-bucket", region="us-east-1")
    async with artifacts_of(tenant, down) as artifacts:
        await put_fails(artifacts, tenant, BODY, BlobStoreUnavailable)
    async with artifacts_of(tenant, swift.connection()) as artifacts:
        ref = await artifacts.put(BODY, path(tenant), "text/html")
        assert await artifacts.get(ref) == BODY
    assert await tenant.store.head() == 1
