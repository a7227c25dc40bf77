"""Blobs in a folder: for one machine, and for embedded use."""

from blobstore.filesystem.root import FilesystemRoot
from blobstore.filesystem.store import FilesystemBlobStore

__all__ = ["FilesystemBlobStore", "FilesystemRoot"]
