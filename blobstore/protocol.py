"""What a blob store promises. Both backends pass one suite, `tests/blobstore/conformance`.

A *store* holds the blobs of one prefix (a tenant). A *backend* is what many stores share: a connection to an
S3 server, or a root folder; it is opened once, checked once, and hands out stores.
"""

from typing import Protocol, runtime_checkable

from blobstore.digest import Digest


@runtime_checkable
class BlobStore(Protocol):
    """Bytes in, digest out. Every method may be called concurrently, from one event loop.

    All but `describe` raise BlobStoreUnavailable (retryable), BlobAccessDenied, BlobStoreMissing, and
    BlobRequestRefused. A cancelled `put` may still store its blob, whole: garbage, never a lie.
    """

    async def put(self, content: bytes) -> Digest:
        """Store bytes and return their sha256 once they are durable.

        What is there already is read back and hashed: whole, nothing is written; corrupt, it is rewritten.
        """
        ...

    async def get(self, digest: Digest) -> bytes:
        """The whole blob, hashed again after reading.

        Raises BlobNotFound; BlobCorrupt (its `expected` and `found` are digests); InvalidDigest.
        """
        ...

    async def exists(self, digest: Digest) -> bool:
        """True only where the stored bytes hash to the digest, so this reads them. Raises InvalidDigest."""
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
