"""Blobs in a bucket of MinIO or another S3 server: `<bucket>/<prefix>/sha256/ab/<digest>`.

A *connection* is what the stores of many prefixes share: the SDK's client, 32 threads, 64 HTTP connections.

No server's word is taken for what it holds. ETags are no sha256 and checksum headers are ignored by some, so
whatever is read is hashed here. What is written goes out with its sha256 in a checksum header, which MinIO
and Swift check; Ceph checks the request's own hash (over http) or its Content-MD5 (over https) instead.
"""

import asyncio
import base64
import hashlib
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from io import BytesIO
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, TypeVar, cast

import minio
from minio.datatypes import Object
from minio.error import S3Error
from minio.helpers import MIN_PART_SIZE, check_bucket_name
from urllib3.response import BaseHTTPResponse

from blobstore.digest import Digest, digest_of, digest_of_chunks, parse_digest, parse_digest_prefix
from blobstore.downloads import attachment, require_download
from blobstore.endpoint import parse_endpoint
from blobstore.errors import (
    BlobCorrupt,
    BlobNotFound,
    BlobRequestRefused,
    BlobStoreMisconfigured,
    BlobStoreMissing,
    InvalidDigest,
)
from blobstore.http_pool import HttpPool
from blobstore.keys import blob_folder, blob_key, parse_prefix
from blobstore.protocol import RENEWED_SECONDS, URL_SECONDS, BlobStat
from blobstore.s3_errors import TROUBLE, tell
from blobstore.s3_uploads import abort_upload, unfinished_uploads
from blobstore.streams import blocks, proven, pulled, require_age, require_bytes, require_range
from blobstore.threads import Threads

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 30.0
DEADLINE_SECONDS = 30.0
ATTEMPTS_MAX = 4
FIRST_PAUSE_SECONDS = 0.1
CHUNK_BYTES = 1 << 20
SPOOLED_BYTES_MAX = 8 << 20
PAGE_BLOBS_MAX = 1000
SINGLE_PUT_BYTES_MAX = 5 * 1024**3

_ABSENT = "NoSuchKey"
_CHECKSUM = "x-amz-checksum-sha256"


class MinioConnection:
    """The backend: one bucket at one S3 server. Construction sends nothing.

    `endpoint` is `host:port`; `region` None asks the server once. A call that fails in a way that may pass is
    tried at most ATTEMPTS_MAX times, and never begun again after `deadline_seconds`; an attempt ends when the
    server is silent for the connect or read timeout. Raises BlobStoreMisconfigured for an endpoint with a
    scheme, and for a name that can be no bucket's. A put renews a blob that is older than `renewed_seconds`.
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
        renewed_seconds: float = RENEWED_SECONDS,
    ) -> None:
        self.endpoint = parse_endpoint(endpoint)
        self.bucket = _parse_bucket(bucket)
        self.renewed_seconds = renewed_seconds
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

    @property
    def client(self) -> minio.Minio:
        """The SDK's client, for streams; its calls block, so they go through `call_once`."""
        return self._client

    async def call_once(self, call: Callable[[], T]) -> T:
        """Run a step of a stream in a thread, without retries, its failures told as blob errors."""

        def told() -> T:
            try:
                return call()
            except TROUBLE as error:
                raise tell(error, self.endpoint, self.bucket) from error

        return await self._threads.run(told)

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

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Digest:
        """See BlobStore.put. What is there and young is downloaded to be hashed; what is older is sent again.

        A stream is spooled to a temporary file first: its key is known when its last byte is.
        """
        if isinstance(content, AsyncIterable):
            return await self._put_stream(content)
        require_bytes(content)
        return await self._put_body(BytesIO(content), len(content), digest_of(content))

    async def get(self, digest: Digest) -> bytes:
        """See BlobStore.get."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: b"".join(self._whole(client, digest)))

    @asynccontextmanager
    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See BlobStore.open."""
        blob_key(self._prefix, digest)
        require_range(start, stop)
        client = self._connection.client
        if start == 0 and stop is None:
            chunks = self._whole(client, digest)
        else:
            size = (await self.stat(digest)).size_bytes  # a range beyond the end is an error of its own in S3
            chunks = self._part(client, digest, start, min(size, size if stop is None else stop))
        async with pulled(chunks, self._connection.call_once) as pieces:
            yield pieces

    async def stat(self, digest: Digest) -> BlobStat:
        """See BlobStore.stat."""
        key = blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._stat(client, key, digest))

    async def exists(self, digest: Digest) -> bool:
        """See BlobStore.exists. Downloads the blob."""
        key = blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._stored_digest(client, key)) == digest

    async def verify(self, digest: Digest) -> int:
        """See BlobStore.verify. Downloads the blob."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: sum(map(len, self._whole(client, digest))))

    async def presign(
        self,
        digest: Digest,
        *,
        file_name: str,
        content_type: str = "application/octet-stream",
        expires_seconds: int = URL_SECONDS,
    ) -> str:
        """See BlobStore.presign."""
        require_download(content_type, expires_seconds)
        await self.stat(digest)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "response-content-type": content_type,
            "response-content-disposition": attachment(file_name),
        }
        return await self._connection.call(
            lambda client: client.presigned_get_object(
                self._connection.bucket,
                blob_key(self._prefix, digest),
                expires=timedelta(seconds=expires_seconds),
                response_headers=headers,
            )
        )

    async def iterate(
        self, digest_prefix: str = "", *, after: Digest | None = None
    ) -> AsyncIterator[BlobStat]:
        """See BlobStore.iterate. A page of the server's listing, at most 1,000 blobs, is held at a time."""
        parse_digest_prefix(digest_prefix)
        seen = after
        while page := await self._connection.call(partial(self._page, digest_prefix, seen)):
            for stat in page:
                yield stat
            seen = page[-1].digest

    async def delete(self, digest: Digest) -> None:
        """See BlobStore.delete."""
        key = blob_key(self._prefix, digest)
        await self._connection.call(lambda client: client.remove_object(self._connection.bucket, key))

    async def clear_unfinished(self, older_than_seconds: float) -> int:
        """See BlobStore.clear_unfinished. Uploads in parts are aged from their beginning."""
        require_age(older_than_seconds)
        return await self._connection.call(lambda client: self._clear_unfinished(client, older_than_seconds))

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

    async def _put_stream(self, content: AsyncIterable[bytes]) -> Digest:
        running = hashlib.sha256()
        size = 0
        with SpooledTemporaryFile(SPOOLED_BYTES_MAX) as spool:
            async for block in blocks(content):
                running.update(block)
                size += len(block)
                await asyncio.to_thread(spool.write, block)
            return await self._put_body(cast(BinaryIO, spool), size, Digest(running.hexdigest()))

    async def _put_body(self, body: BinaryIO, size: int, digest: Digest) -> Digest:
        _require_single_put(size)
        key = blob_key(self._prefix, digest)
        if not await self._connection.call(lambda client: self._is_renewed(client, key, digest)):
            await self._connection.call(lambda client: self._upload(client, key, digest, body, size))
        return digest

    def _upload(self, client: minio.Minio, key: str, digest: Digest, body: BinaryIO, size: int) -> None:
        body.seek(0)
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        result = client.put_object(
            self._connection.bucket,
            key,
            body,
            size,
            metadata={_CHECKSUM: checksum},
            part_size=max(size, MIN_PART_SIZE),  # never multipart: it has no sha256 of the whole
        )
        answered = result.http_headers.get(_CHECKSUM, checksum)  # where the server gives one at all
        if answered != checksum:
            raise self._corrupt(digest, Digest(base64.b64decode(answered).hex()))

    def _whole(self, client: minio.Minio, digest: Digest) -> Generator[bytes, None, None]:
        """The blob's bytes, proven by the last."""
        key = blob_key(self._prefix, digest)
        try:
            yield from proven(
                _chunks(client, self._connection.bucket, key), digest, partial(self._corrupt, digest)
            )
        except S3Error as error:
            raise self._told(error, digest) from None

    def _part(
        self, client: minio.Minio, digest: Digest, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        if stop <= start:
            return
        key = blob_key(self._prefix, digest)
        try:
            yield from _chunks(client, self._connection.bucket, key, start, stop - start)
        except S3Error as error:
            raise self._told(error, digest) from None

    def _stat(self, client: minio.Minio, key: str, digest: Digest) -> BlobStat:
        try:
            found = client.stat_object(self._connection.bucket, key)
        except S3Error as error:
            raise self._told(error, digest) from None
        assert found.size is not None
        assert found.last_modified is not None
        return BlobStat(digest, found.size, found.last_modified)

    def _page(self, digest_prefix: str, after: Digest | None, client: minio.Minio) -> list[BlobStat]:
        folder = blob_folder(self._prefix)
        begins = f"{folder}/{digest_prefix[:2]}"
        if len(digest_prefix) > 2:
            begins += f"/{digest_prefix}"
        listed = client.list_objects(
            self._connection.bucket,
            prefix=begins,
            recursive=True,
            start_after=None if after is None else blob_key(self._prefix, after),
        )
        stats = (_listed_stat(folder, found) for found in listed)
        return list(islice((stat for stat in stats if stat is not None), PAGE_BLOBS_MAX))

    def _clear_unfinished(self, client: minio.Minio, older_than_seconds: float) -> int:
        """All of this prefix's uploads in parts that were neither completed nor aborted."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        stale = [
            upload
            for upload in unfinished_uploads(client, self._connection.bucket, blob_folder(self._prefix) + "/")
            if upload.begun_at <= latest
        ]
        for upload in stale:
            abort_upload(client, self._connection.bucket, upload)
        return len(stale)

    def _told(self, error: S3Error, digest: Digest) -> Exception:
        if error.code == _ABSENT:
            return BlobNotFound(f"No blob {digest} in {self.describe()}")
        return error

    def _stored_digest(self, client: minio.Minio, key: str) -> Digest | None:
        """The digest of the bytes that are there; None where no object is."""
        try:
            return digest_of_chunks(_chunks(client, self._connection.bucket, key))
        except S3Error as error:
            if error.code != _ABSENT:
                raise
            return None

    def _is_renewed(self, client: minio.Minio, key: str, digest: Digest) -> bool:
        """True where the blob is there whole, and young. An old one is not read: it is sent in any case."""
        try:
            response = client.get_object(self._connection.bucket, key)
        except S3Error as error:
            if error.code != _ABSENT:
                raise
            return False
        with _released(response):
            young = _age_seconds(response) <= self._connection.renewed_seconds
            return young and digest_of_chunks(response.stream(CHUNK_BYTES)) == digest

    def _corrupt(self, digest: Digest, found: Digest) -> BlobCorrupt:
        return BlobCorrupt(
            f"An object in {self.describe()} is not the blob it is filed as",
            expected=digest,
            found=found,
            fix="Put the content again, which rewrites it whole",
        )


def _chunks(
    client: minio.Minio, bucket: str, key: str, offset: int = 0, length: int = 0
) -> Generator[bytes, None, None]:
    """The object's bytes, all of them where `length` is 0. A body shorter than announced raises, as urllib3
    counts."""
    with _released(client.get_object(bucket, key, offset=offset, length=length)) as response:
        yield from response.stream(CHUNK_BYTES)


@contextmanager
def _released(response: BaseHTTPResponse) -> Iterator[BaseHTTPResponse]:
    """Give the connection back; closed, where the rest of a body is still to come on it."""
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


def _age_seconds(response: BaseHTTPResponse) -> float:
    """By the server's clock alone. Without end where it does not say."""
    try:
        now, modified = (parsedate_to_datetime(response.headers[name]) for name in ("date", "last-modified"))
    except (KeyError, ValueError):
        return math.inf
    return (now - modified).total_seconds()


def _listed_stat(folder: str, listed: Object) -> BlobStat | None:
    """None for an object that is no blob of ours."""
    key = listed.object_name or ""
    with suppress(InvalidDigest):
        digest = parse_digest(key.rpartition("/")[2])
        if key == f"{folder}/{digest[:2]}/{digest}" and listed.size is not None and listed.last_modified:
            return BlobStat(digest, listed.size, listed.last_modified)
    return None


def _require_single_put(size: int) -> None:
    if size > SINGLE_PUT_BYTES_MAX:
        raise BlobRequestRefused(
            "This blob is too large for one PUT",
            expected=f"at most {SINGLE_PUT_BYTES_MAX} bytes",
            found=f"{size} bytes",
        )
