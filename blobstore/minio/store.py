"""Blobs in a bucket of MinIO or another S3 server: `<bucket>/<prefix>/sha256/ab/<digest>`.

No server's word is taken for what it holds. ETags are no sha256, so whatever is read is hashed here. What is
written in one PUT is signed with its digest, which every server holds against the bytes that come, and
carries it in x-amz-checksum-sha256 too, for those that keep it. Each part of a larger body is signed with
its own hash (http) or goes with its Content-MD5 (https).
"""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import minio

from blobstore.digest import Digest, parse_digest_prefix
from blobstore.downloads import attachment, require_download
from blobstore.keys import blob_folder, blob_key, parse_prefix
from blobstore.minio import reading
from blobstore.minio.object_lock import remove_versions
from blobstore.minio.spool import BytesBody, Spool
from blobstore.minio.unfinished import abort, unfinished_uploads
from blobstore.minio.writing import SENT_UNASKED_BYTES_MAX, Writing
from blobstore.protocol import URL_SECONDS, BlobStat
from blobstore.streams import blocks, pulled, require_age, require_bytes, require_range

if TYPE_CHECKING:
    from blobstore.minio.connection import MinioConnection


class MinioBlobStore:
    """The blobs of one prefix in a bucket. Implements BlobStore.

    One PUT up to 64 MiB, an upload in parts beyond; 625 GiB at most.
    """

    def __init__(self, connection: "MinioConnection", prefix: str) -> None:
        self._connection = connection
        self._bucket = connection.bucket
        self._prefix = parse_prefix(prefix)
        self._objects = reading.Objects(connection.bucket, self._prefix, self.describe())
        self._writing = Writing(connection, self._objects)

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Digest:
        """See BlobStore.put.

        Small bodies are sent at once, on the condition that nothing is there. Where something is, and for
        larger ones, what is there is downloaded to be hashed if it is young, and sent again if it is not.
        """
        if isinstance(content, AsyncIterable):
            return await self._put_stream(content)
        require_bytes(content)
        small = len(content) <= SENT_UNASKED_BYTES_MAX
        body = BytesBody(content) if small else await self._connection.call_once(lambda: BytesBody(content))
        await self._writing.put(body)
        return body.digest

    async def get(self, digest: Digest) -> bytes:
        """See BlobStore.get."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: b"".join(self._objects.whole(client, digest)))

    @asynccontextmanager
    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See BlobStore.open."""
        blob_key(self._prefix, digest)
        require_range(start, stop)
        client = self._connection.client
        if start == 0 and stop is None:
            chunks = self._objects.whole(client, digest)
        else:
            size = (await self.stat(digest)).size_bytes  # a range beyond the end is an error of its own in S3
            chunks = self._objects.part(client, digest, start, min(size, size if stop is None else stop))
        async with pulled(chunks, self._connection.call_once) as pieces:
            yield pieces

    async def stat(self, digest: Digest) -> BlobStat:
        """See BlobStore.stat."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._objects.stat(client, digest))

    async def exists(self, digest: Digest) -> bool:
        """See BlobStore.exists. Downloads the blob."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: self._objects.is_whole(client, digest))

    async def verify(self, digest: Digest) -> int:
        """See BlobStore.verify. Downloads the blob."""
        blob_key(self._prefix, digest)
        return await self._connection.call(lambda client: sum(map(len, self._objects.whole(client, digest))))

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
                self._bucket,
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
        while page := await self._connection.call(partial(self._objects.page, digest_prefix, seen)):
            for stat in page:
                yield stat
            seen = page[-1].digest

    async def delete(self, digest: Digest) -> None:
        """See BlobStore.delete. With object lock, removes every version, or raises BlobRetained."""
        key = blob_key(self._prefix, digest)
        if self._connection.object_lock:
            await self._connection.call(lambda client: remove_versions(client, self._bucket, key))
        else:
            await self._connection.call(lambda client: client.remove_object(self._bucket, key))

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
        spool = Spool()
        try:
            async for block in blocks(content):
                await self._connection.call_once(partial(spool.write, block))
            await self._writing.put(spool)
            return spool.digest
        finally:
            spool.close()

    def _clear_unfinished(self, client: minio.Minio, older_than_seconds: float) -> int:
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        begun = unfinished_uploads(client, self._bucket, blob_folder(self._prefix) + "/")
        stale = [upload for upload in begun if upload.begun_at <= latest]
        for upload in stale:
            abort(client, self._bucket, upload)
        return len(stale)
