"""What a blob store promises. Both backends pass one suite, `tests/blobstore/conformance`.

A *store* holds the blobs of one prefix (a tenant). A *backend* is what many stores share: a connection to an
S3 server, or a root folder; it is opened once, checked once, and hands out stores.

What a collector of garbage may build on
----------------------------------------
- *A put renews.* When `put` returns, the blob's `modified_at` is at most RENEWED_SECONDS before that put
  began, whether the blob was there or not. What is there whole and younger is read and left as it is; what is
  there and older is touched (a folder) or written again (S3: a copy of an object onto itself means another
  thing at every server, and we have the bytes). So a blob is renewed once an hour at most, however often put.
- A sweep that deletes only what was last modified before a *grace period* therefore never meets a blob put
  within it, where the grace period exceeds RENEWED_SECONDS plus the longest time from a put to its event.
- `modified_at` is the store's clock, not the caller's. S3 servers refuse requests that are 15 minutes off.
- `delete` is unconditional: most S3 servers know no "if unmodified". Between a sweep's last look at a blob
  and its `delete` a put may come to renew it; closing that gap is the caller's, by a lock that both take.
- `iterate(after=...)` resumes a mark or sweep that was stopped; it costs a listing, not a request per blob.
- `clear_unfinished` removes what puts left that never came to their end: no blobs, so `iterate` lists none.
"""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from blobstore.digest import Digest

URL_SECONDS = 3600
URL_SECONDS_MAX = 7 * 24 * 3600  # what S3's signature version 4 allows
RENEWED_SECONDS = 3600.0  # after a put, a blob's age is at most this


@dataclass(frozen=True)
class BlobStat:
    """What a store says of a blob without reading it. `modified_at` is when it was written last, in UTC.

    `retained_until`, in UTC, is told by `stat` alone: what is locked cannot be deleted before.
    """

    digest: Digest
    size_bytes: int
    modified_at: datetime
    retained_until: datetime | None = None


@runtime_checkable
class BlobStore(Protocol):
    """Bytes in, digest out. Every method may be called concurrently, from one event loop.

    All but `describe` raise BlobStoreUnavailable (retryable), BlobAccessDenied, BlobStoreMissing, and
    BlobRequestRefused. A cancelled `put` may still store its blob, whole: garbage, never a lie.
    """

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Digest:
        """Store bytes and return their sha256 once they are durable.

        What is there already is proven whole, by reading and hashing it or by writing it again; where it was
        written more than RENEWED_SECONDS ago, it is renewed (see the top of this module).
        A stream may be of any length, and is held in memory a few MiB at a time; where it raises, its error
        is raised on and nothing of it is stored. Raises TypeError for anything but bytes.
        """
        ...

    async def get(self, digest: Digest) -> bytes:
        """The whole blob, hashed again after reading.

        Raises BlobNotFound; BlobCorrupt (its `expected` and `found` are digests); InvalidDigest.
        """
        ...

    def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The blob as a stream: `async with store.open(digest) as chunks: async for chunk in chunks: ...`.

        `start` and `stop` cut as a slice does, and may lie beyond the end. A whole blob is hashed on its way:
        its last chunk comes only when all of it is right, BlobCorrupt instead where it is not. A part of a
        blob cannot be checked. Raises on entering BlobNotFound and InvalidDigest; ValueError for a negative
        `start`, or a `stop` before it.
        """
        ...

    async def stat(self, digest: Digest) -> BlobStat:
        """Size and time of a blob; its bytes are not read, so they may be corrupt. Raises BlobNotFound,
        InvalidDigest."""
        ...

    async def exists(self, digest: Digest) -> bool:
        """True only where the stored bytes hash to the digest, so this reads them. Raises InvalidDigest."""
        ...

    async def verify(self, digest: Digest) -> int:
        """Read the blob, a chunk in memory at a time, and return its size in bytes if it is whole.

        Raises as `get` does.
        """
        ...

    async def presign(
        self,
        digest: Digest,
        *,
        file_name: str,
        content_type: str = "application/octet-stream",
        expires_seconds: int = URL_SECONDS,
    ) -> str:
        """A URL from which whoever holds it may download the blob until it expires.

        It is always saved as a file of this name, never shown: a stored page must not run as a page of the
        server's. Raises BlobNotFound, InvalidDigest; ValueError for an `expires_seconds` not in
        1..URL_SECONDS_MAX or a content type that is none; BlobUrlUnsupported where no server could answer.
        """
        ...

    def iterate(self, digest_prefix: str = "", *, after: Digest | None = None) -> AsyncIterator[BlobStat]:
        """Every blob whose digest begins with these digits, in the order of digests, from after `after`.

        Nothing is read, so what is listed may be corrupt. What is put or deleted meanwhile may be listed or
        not. Stopped at any point, it goes on where `after` is the last digest seen. Raises, when first asked
        for a blob, InvalidDigest for what can begin no digest, or can be no `after`.
        """
        ...

    async def delete(self, digest: Digest) -> None:
        """Remove a blob, durably; one that is not there is removed already. Raises InvalidDigest;
        BlobRetained where it is locked until later (object lock).

        It is the caller who knows that nothing refers to the blob any more.
        """
        ...

    async def clear_unfinished(self, older_than_seconds: float) -> int:
        """Remove what puts left behind that were not heard of for this long, and return how many there were:
        temporary files, uploads in parts that were never completed. Must exceed the longest pause of a put
        that still lives, which would fail. Raises ValueError for a negative age."""
        ...

    async def check(self) -> None:
        """Return where the store is reachable and usable; raise the error that says why not, otherwise."""
        ...

    async def prepare(self) -> None:
        """Make the bucket or the root folder. Does nothing where it is there."""
        ...

    async def close(self) -> None:
        """Wait for calls under way and let go of what this store alone holds; a shared backend stays open."""
        ...

    def describe(self) -> str:
        """Which store this is, for logs: no secrets in it."""
        ...


@runtime_checkable
class BlobBackend(Protocol):
    """What the stores of many prefixes share. Whoever opened it closes it, after its stores' last call."""

    def store(self, prefix: str) -> BlobStore:
        """The store of one prefix. Costs nothing, sends nothing. Raises BlobStoreMisconfigured."""
        ...

    async def check(self) -> None:
        """As BlobStore.check."""
        ...

    async def prepare(self) -> None:
        """As BlobStore.prepare."""
        ...

    async def close(self) -> None:
        """Wait for calls under way, then let go of threads and connections. May be called twice."""
        ...

    def describe(self) -> str:
        """Which backend this is, for logs: no secrets in it."""
        ...
