"""Blobs in a folder: for one machine, and for embedded use."""

from blobstore.filesystem.store import FilesystemBlobStore, FilesystemRoot

__all__ = ["FilesystemBlobStore", "FilesystemRoot"]
