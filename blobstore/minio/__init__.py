"""Blobs in a bucket of MinIO, or of another server that speaks S3."""

from blobstore.minio.connection import MinioConnection
from blobstore.minio.object_lock import ObjectLock
from blobstore.minio.store import MinioBlobStore

__all__ = ["MinioBlobStore", "MinioConnection", "ObjectLock"]
