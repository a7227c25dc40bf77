"""What the objects of one prefix hold: every read, and no write. The calls block; they run in threads."""

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice

import minio
from minio.datatypes import Object
from minio.error import S3Error
from urllib3.response import BaseHTTPResponse

from blobstore.digest import Digest, digest_of_chunks, parse_digest
from blobstore.errors import BlobCorrupt, BlobNotFound, InvalidDigest
from blobstore.keys import blob_folder, blob_key
from blobstore.minio.object_lock import retained_until
from blobstore.protocol import BlobStat
from blobstore.streams import BLOCK_BYTES, proven

PAGE_BLOBS_MAX = 1000

_ABSENT = "NoSuchKey"


class Objects:
    """The objects of one prefix in a bucket. `where` names the store in messages."""

    def __init__(self, bucket: str, prefix: str, where: str) -> None:
        self.bucket = bucket
        self._prefix = prefix
        self._where = where

    def key(self, digest: Digest) -> str:
        """Where a blob lies. Raises InvalidDigest."""
        return blob_key(self._prefix, digest)

    def whole(self, client: minio.Minio, digest: Digest) -> Generator[bytes, None, None]:
        """The blob's bytes, proven by the last. Raises BlobNotFound, BlobCorrupt."""
        yield from proven(self._chunks(client, digest), digest, partial(self._corrupt, digest))

    def part(
        self, client: minio.Minio, digest: Digest, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """The blob's bytes from `start` to `stop`, which must lie within it. Raises BlobNotFound."""
        if start < stop:
            yield from self._chunks(client, digest, start, stop - start)

    def is_whole(self, client: minio.Minio, digest: Digest) -> bool:
        """True where the object is there and hashes to its digest."""
        try:
            return digest_of_chunks(self._chunks(client, digest)) == digest
        except BlobNotFound:
            return False

    def is_renewed(self, client: minio.Minio, digest: Digest, young_seconds: float) -> bool:
        """True where the blob is there whole, and young. An old one is not read: it is sent in any case."""
        try:
            with self._opened(client, digest) as response:
                young = _age_seconds(response) <= young_seconds
                return young and digest_of_chunks(response.stream(BLOCK_BYTES)) == digest
        except BlobNotFound:
            return False

    def stat(self, client: minio.Minio, digest: Digest) -> BlobStat:
        """Raises BlobNotFound."""
        try:
            found = client.stat_object(self.bucket, self.key(digest))
        except S3Error as error:
            raise self._told(error, digest) from None
        assert found.size is not None
        assert found.last_modified is not None
        return BlobStat(digest, found.size, found.last_modified, retained_until(found))

    def page(self, digest_prefix: str, after: Digest | None, client: minio.Minio) -> list[BlobStat]:
        """At most PAGE_BLOBS_MAX blobs whose digest begins like this, in order, from after `after`."""
        folder = blob_folder(self._prefix)
        begins = f"{folder}/{digest_prefix[:2]}"
        if len(digest_prefix) > 2:
            begins += f"/{digest_prefix}"
        start_after = None if after is None else self.key(after)
        listed = client.list_objects(self.bucket, prefix=begins, recursive=True, start_after=start_after)
        stats = (_listed_stat(folder, found) for found in listed)
        return list(islice((stat for stat in stats if stat is not None), PAGE_BLOBS_MAX))

    def _chunks(
        self, client: minio.Minio, digest: Digest, offset: int = 0, length: int = 0
    ) -> Generator[bytes, None, None]:
        # A body shorter than announced raises, as urllib3 counts.
        with self._opened(client, digest, offset, length) as response:
            yield from response.stream(BLOCK_BYTES)

    @contextmanager
    def _opened(
        self, client: minio.Minio, digest: Digest, offset: int = 0, length: int = 0
    ) -> Iterator[BaseHTTPResponse]:
        """The answer to a GET, of all bytes where `length` is 0. Its connection is given back, or closed
        where the rest of a body is still to come on it."""
        try:
            response = client.get_object(self.bucket, self.key(digest), offset=offset, length=length)
        except S3Error as error:
            raise self._told(error, digest) from None
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    def _told(self, error: S3Error, digest: Digest) -> Exception:
        if error.code == _ABSENT:
            return BlobNotFound(f"No blob {digest} in {self._where}")
        return error

    def _corrupt(self, digest: Digest, found: Digest) -> BlobCorrupt:
        return BlobCorrupt(
            f"An object in {self._where} is not the blob it is filed as",
            expected=digest,
            found=found,
            fix="Put the content again, which rewrites it whole",
        )


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
