"""A *connection* is what the stores of many prefixes share: one bucket, the SDK's client, as many threads as
HTTP connections, and the rule for trying again."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import minio
from minio.error import S3Error
from minio.helpers import check_bucket_name

from blobstore.errors import BlobStoreMisconfigured, BlobStoreMissing
from blobstore.minio.client import Client
from blobstore.minio.endpoint import parse_endpoint
from blobstore.minio.errors import TROUBLE, tell
from blobstore.minio.http_pool import HttpPool, trust_of
from blobstore.minio.object_lock import ObjectLock, can_lock
from blobstore.minio.retries import pauses
from blobstore.minio.store import MinioBlobStore
from blobstore.protocol import RENEWED_SECONDS
from blobstore.threads import THREADS_MAX, Threads

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 30.0
DEADLINE_SECONDS = 30.0
PARTS_AT_ONCE_MAX = 4


class MinioConnection:
    """The backend: one bucket at one S3 server. Construction sends nothing.

    `endpoint` is `host:port`; `region` None asks the server once; over TLS, `ca_file` alone vouches for the
    server where one is given. At most `connections_max` requests are made at a time, each in a thread and on
    a connection of its own. A call that fails in a way that may pass is tried at most ATTEMPTS_MAX times,
    and never begun again after `deadline_seconds`; an attempt ends when the server is silent for the connect
    or read timeout. A put renews a blob that is older than `renewed_seconds`, and locks it as `object_lock`
    says.

    Raises BlobStoreMisconfigured for an endpoint with a scheme, a name that can be no bucket's, a CA file
    that is none.
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
        ca_file: Path | None = None,
        object_lock: ObjectLock | None = None,
        connections_max: int = THREADS_MAX,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        renewed_seconds: float = RENEWED_SECONDS,
    ) -> None:
        self.endpoint = parse_endpoint(endpoint)
        self.bucket = _parse_bucket(bucket)
        self.object_lock = object_lock
        self.renewed_seconds = renewed_seconds
        # Whoever's they are: one large blob is not to take every connection.
        self.parts_at_once = asyncio.Semaphore(PARTS_AT_ONCE_MAX)
        self._deadline_seconds = deadline_seconds
        self._pool = HttpPool(
            connections_max=connections_max,
            connect_timeout=connect_timeout_seconds,
            read_timeout=read_timeout_seconds,
            trust=trust_of(ca_file) if use_ssl else None,
        )
        self._client = Client(
            self.endpoint, access_key, secret_key, secure=use_ssl, region=region, http_client=self._pool
        )
        self._threads = Threads("blobs-minio", connections_max)

    def store(self, prefix: str) -> MinioBlobStore:
        """The store of one prefix. Raises BlobStoreMisconfigured."""
        return MinioBlobStore(self, prefix)

    async def check(self) -> None:
        """Ask for the bucket (HEAD). Needs s3:ListBucket, without which a server hides absent blobs too.

        Raises BlobStoreMisconfigured where blobs are to be locked and the bucket cannot.
        """
        if not await self.call(lambda client: client.bucket_exists(self.bucket)):
            raise BlobStoreMissing(
                f"There is no bucket {self.bucket} at {self.endpoint}",
                expected="a bucket",
                fix="Run `daicho init`, which makes it",
            )
        if self.object_lock and not await self.call(lambda client: can_lock(client, self.bucket)):
            raise BlobStoreMisconfigured(
                f"Bucket {self.bucket} at {self.endpoint} cannot lock objects",
                expected="a bucket that was made with object lock",
                fix="Name another bucket and run `daicho init`, which makes it so; or set no object lock",
            )

    async def prepare(self) -> None:
        """Make the bucket where it is not there, with object lock where that is set. Raises as `check`
        does."""
        await self.call(self._make_bucket)
        await self.check()

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
        waits = pauses()
        while True:
            try:
                return request(self._client)
            except TROUBLE as error:
                told = tell(error, self.endpoint, self.bucket)
                pause = next(waits, None)
                if not told.retryable or pause is None or time.monotonic() + pause > deadline:
                    raise told from error
            time.sleep(pause)

    def _make_bucket(self, client: minio.Minio) -> None:
        if client.bucket_exists(self.bucket):
            return
        try:
            client.make_bucket(self.bucket, object_lock=self.object_lock is not None)
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
