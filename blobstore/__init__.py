"""Bytes in, digest out: content-addressed storage of the bodies that never travel in events.

Knows nothing of runs or tenants, imports nothing of daicho's other packages. A backend is opened once and
hands out one store per prefix:

    backend = MinioConnection("localhost:9000", access_key, secret_key, bucket="seo-gen-artifacts")
    store = backend.store("acme")
    digest = await store.put(b"...")
    assert await store.get(digest) == b"..."
"""

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
from blobstore.filesystem import FilesystemBlobStore, FilesystemRoot
from blobstore.minio import MinioBlobStore, MinioConnection, ObjectLock
from blobstore.protocol import BlobBackend, BlobStat, BlobStore

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
