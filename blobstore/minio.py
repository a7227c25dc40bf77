"""Blobs in a bucket of MinIO or another S3 server: `<bucket>/<prefix>/sha256/ab/<digest>`.

A *connection* is what the stores of many prefixes share: the SDK's client, 32 threads, 64 HTTP connections.

No server's word is taken for what it holds. ETags are no sha256 and checksum headers are ignored by some, so
whatever is read is hashed here. What is written goes out with its sha256 in a checksum header, which MinIO
and Swift check; Ceph checks the request's own hash (over http) or its Content-MD5 (over https) instead.
"""

import base64
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TypeVar

import minio
from minio.error import S3Error
from minio.helpers import MIN_PART_SIZE, check_bucket_name

from blobstore.digest import Digest, digest_of, digest_of_chunks
from blobstore.endpoint import parse_endpoint
from blobstore.errors import (
    BlobCorrupt,
    BlobNotFound,
    BlobRequestRefused,
    BlobStoreMisconfigured,
    BlobStoreMissing,
)
from blobstore.http_pool import HttpPool
from blobstore.keys import blob_key, parse_prefix
from blobstore.s3_errors import TROUBLE, tell
from blobstore.threads import Threads

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 30.0
DEADLINE_SECONDS = 30.0
ATTEMPTS_MAX = 4
FIRST_PAUSE_SECONDS = 0.1
CHUNK_BYTES = 1 << 20
SINGLE_PUT_BYTES_MAX = 5 * 1024**3

_ABSENT = "NoSuchKey"
_CHECKSUM = "x-amz-checksum-sha256"


class MinioConnection:
    """The backend: one bucket at one S3 server. Construction sends nothing.

    `endpoint` is `host:port`; `region` None asks the server once. A call that fails in a way that may pass is
    tried at most ATTEMPTS_MAX times, and never begun again after `deadline_seconds`; an attempt ends when the
    server is silent for the connect or read timeout. Raises BlobStoreMisconfigured for an endpoint with a
    scheme, and for a name that can be no bucket's.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        bucket: str,
        use_ssl: bool = False,
        region: str | None = None,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.endpoint = parse_endpoint(endpoint)
        self.bucket = _parse_bucket(bucket)
        self._deadline_seconds = deadline_seconds
        self._pool = HttpPool(connect_timeout=connect_timeout_seconds, read_timeout=read_timeout_seconds)
        self._client = minio.Minio(
            self.endpoint, access_key, secret_key, secure=use_ssl, region=region, http_client=self._pool
        )
        self._threads = Threads("blobs-minio")

    def store(self, prefix: str) -> "MinioBlobStore":
        """The store of one prefix. Raises BlobStoreMisconfigured."""
        return MinioBlobStore(self, prefix)

    async def check(self) -> None:
        """Ask for the bucket (HEAD). Needs s3:ListBucket, without which a server hides absent blobs too."""
        if not await self.call(self._has_bucket):
            raise BlobStoreMissing(
                f"There is no bucket {self.bucket} at {self.endpoint}",
                expected="a bucket",
                fix="Run `daicho init`, which makes it",
            )

    async def prepare(self) -> None:
        """Make the bucket where it is not there."""
        await self.call(self._make_bucket)

    async def close(self) -> None:
        """Wait for calls under way, end the threads, close the connections."""
        await self._threads.close()
        self._pool.clear()

    def describe(self) -> str:
        """`S3 at localhost:9000, bucket seo-gen-artifacts`."""
        return f"S3 at {self.endpoint}, bucket {self.bucket}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    async def call(self, request: Callable[[minio.Minio], T]) -> T:
        """Run a request in a thread, with retries, its failures told as blob errors.

        The request must be harmless to repeat. All of ours are: the same bytes under the name of their hash.
        """
        return await self._threads.run(lambda: self._attempt(request))

    def _attempt(self, request: Callable[[minio.Minio], T]) -> T:
        deadline = time.monotonic() + self._deadline_seconds
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return request(self._client)
            except TROUBLE as error:
                told = tell(error, self.endpoint, self.bucket)
                if not told.retryable or attempt == ATTEMPTS_MAX or time.monotonic() + pause > deadline:
                    raise told from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _has_bucket(self, client: minio.Minio) -> bool:
        return client.bucket_exists(self.bucket)

    def _make_bucket(self, client: minio.Minio) -> None:
        if client.bucket_exists(self.bucket):
            return
        try:
            client.make_bucket(self.bucket)
        except S3Error as error:
            # Another process was faster, or the answer to our own first attempt was lost.
            if error.code != "BucketAlreadyOwnedByYou":
                raise


def _parse_bucket(name: str) -> str:
    try:
        check_bucket_name(name, strict=True)
        if name != name.strip():
            raise ValueError("white space around it")
    except ValueError as error:
        raise BlobStoreMisconfigured(
            "This cannot be the name of a bucket",
            expected="3 to 63 of a-z, 0-9, . and -",
            found=ascii(name)[:80],
        ) from error
    return name


class MinioBlobStore:
    """The blobs of one prefix in a bucket, 5 GiB each at most (one PUT). Implements BlobStore."""

    def __init__(self, connection: MinioConnection, prefix: str) -> None:
        self._connection = connection
        self._prefix = parse_prefix(prefix)

    async def put(self, content: bytes) -> Digest:
        """See BlobStore.put. What is there already is downloaded to be hashed, not uploaded again."""
        _require_single_put(content)
        digest = digest_of(content)
        key = blob_key(self._prefix, digest)
        if await self._connection.call(lambda client: self._stored_digest(client, key)) != digest:
            await self._connection.call(lambda client: self._upload(client, key, digest, content))
        return digest

    async def get(self, digest: Digest) -> bytes:
        """See BlobStore.get."""
        key = blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._download(client, key, digest))

    async def exists(self, digest: Digest) -> bool:
        """See BlobStore.exists. Downloads the blob."""
        key = blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._stored_digest(client, key)) == digest

    async def check(self) -> None:
        """See BlobStore.check."""
        await self._connection.check()

    async def prepare(self) -> None:
        """See BlobStore.prepare."""
        await self._connection.prepare()

    async def close(self) -> None:
        """Nothing: the connection is shared, and closed by whoever opened it."""

    def describe(self) -> str:
        """`S3 at localhost:9000, bucket seo-gen-artifacts, prefix acme`."""
        return f"{self._connection.describe()}, prefix {self._prefix}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def _upload(self, client: minio.Minio, key: str, digest: Digest, content: bytes) -> None:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        result = client.put_object(
            self._connection.bucket,
            key,
            BytesIO(content),
            len(content),
            metadata={_CHECKSUM: checksum},
            part_size=max(len(content), MIN_PART_SIZE),  # never multipart: it has no sha256 of the whole
        )
        answered = result.http_headers.get(_CHECKSUM, checksum)  # where the server gives one at all
        if answered != checksum:
            raise self._corrupt(digest, Digest(base64.b64decode(answered).hex()))

    def _download(self, client: minio.Minio, key: str, digest: Digest) -> bytes:
        try:
            content = b"".join(_chunks(client, self._connection.bucket, key))
        except S3Error as error:
            if error.code != _ABSENT:
                raise
            raise BlobNotFound(f"No blob {digest} in {self.describe()}") from None
        found = digest_of(content)
        if found != digest:
            raise self._corrupt(digest, found)
        return content

    def _stored_digest(self, client: minio.Minio, key: str) -> Digest | None:
        """The digest of the bytes that are there; None where no object is."""
        try:
            return digest_of_chunks(_chunks(client, self._connection.bucket, key))
        except S3Error as error:
            if error.code != _ABSENT:
                raise
            return None

    def _corrupt(self, digest: Digest, found: Digest) -> BlobCorrupt:
        return BlobCorrupt(
            f"An object in {self.describe()} is not the blob it is filed as",
            expected=digest,
            found=found,
            fix="Put the content again, which rewrites it whole",
        )


def _chunks(client: minio.Minio, bucket: str, key: str) -> Iterator[bytes]:
    """The object's bytes. A body shorter than announced raises, as urllib3 counts."""
    response = client.get_object(bucket, key)
    try:
        yield from response.stream(CHUNK_BYTES)
    finally:
        response.close()
        response.release_conn()


def _require_single_put(content: bytes) -> None:
    if len(content) > SINGLE_PUT_BYTES_MAX:
        raise BlobRequestRefused(
            "This blob is too large for one PUT",
            expected=f"at most {SINGLE_PUT_BYTES_MAX} bytes",
            found=f"{len(content)} bytes",
        )
