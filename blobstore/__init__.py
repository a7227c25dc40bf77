"""Bytes in, digest out: content-addressed storage of the bodies that never travel in events.

Knows nothing of runs or tenants, imports nothing of daicho's other packages. The backends are imported when
they are first used: whoever only raises or catches its errors need not wait for an S3 client. A backend is
opened once and hands out one store per prefix:

    backend = MinioConnection("localhost:9000", access_key, secret_key, bucket="seo-gen-artifacts")
    store = backend.store("acme")
    digest = await store.put(b"...")
    assert await store.get(digest) == b"..."
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blobstore.digest import Digest, digest_of, parse_digest
from blobstore.errors import (
    BlobAccessDenied,
    BlobCorrupt,
    BlobError,
    BlobNotFound,
    BlobRequestRefused,
    BlobRetained,
    BlobStoreMisconfigured,
    BlobStoreMissing,
    BlobStoreUnavailable,
    BlobUrlUnsupported,
    DaichoError,
    InvalidDigest,
)
from blobstore.protocol import BlobBackend, BlobStat, BlobStore

if TYPE_CHECKING:
    from blobstore.filesystem import FilesystemBlobStore, FilesystemRoot
    from blobstore.minio import MinioBlobStore, MinioConnection, ObjectLock

__all__ = [
    "BlobAccessDenied",
    "BlobBackend",
    "BlobCorrupt",
    "BlobError",
    "BlobNotFound",
    "BlobRequestRefused",
    "BlobRetained",
    "BlobStat",
    "BlobStore",
    "BlobStoreMisconfigured",
    "BlobStoreMissing",
    "BlobStoreUnavailable",
    "BlobUrlUnsupported",
    "DaichoError",
    "Digest",
    "FilesystemBlobStore",
    "FilesystemRoot",
    "InvalidDigest",
    "MinioBlobStore",
    "MinioConnection",
    "ObjectLock",
    "digest_of",
    "parse_digest",
]

_HOMES = {
    "FilesystemBlobStore": "blobstore.filesystem",
    "FilesystemRoot": "blobstore.filesystem",
    "MinioBlobStore": "blobstore.minio",
    "MinioConnection": "blobstore.minio",
    "ObjectLock": "blobstore.minio",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
