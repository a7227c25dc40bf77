"""Blobs in a folder: `<root>/<prefix>/sha256/ab/<digest>`. For one machine, and for embedded use.

A *root* is the folder that the stores of many prefixes share, with the threads that do their work.
How a file gets there whole and durably is told in `durable.py`.
"""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from blobstore import durable
from blobstore.digest import Digest, digest_of, digest_of_chunks
from blobstore.errors import (
    BlobAccessDenied,
    BlobCorrupt,
    BlobError,
    BlobNotFound,
    BlobStoreMissing,
    BlobStoreUnavailable,
)
from blobstore.keys import blob_key, parse_prefix
from blobstore.threads import Threads

T = TypeVar("T")

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FilesystemRoot:
    """The backend: a folder (made by `prepare`) and at most 32 threads. Construction touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._threads = Threads("blobs-folder")
        # Folders whose own name this process has made durable. A folder found there may have been made a
        # moment ago by a process that died before its fsync, so the first put into each pays one.
        self._durable_folders: set[Path] = set()

    def store(self, prefix: str) -> "FilesystemBlobStore":
        """The store of one prefix. Raises BlobStoreMisconfigured."""
        return FilesystemBlobStore(self, prefix)

    async def check(self) -> None:
        """Write, fsync and remove a small file in the root."""
        await self.run(self._probe)

    async def prepare(self) -> None:
        """Make the root and its parents, durably."""
        await self.run(lambda: self._make_durable([*reversed(self.root.parents), self.root]))

    async def close(self) -> None:
        """Wait for calls under way and end the threads."""
        await self._threads.close()

    def describe(self) -> str:
        """`folder /path`."""
        return f"folder {self.root}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    async def run(self, call: Callable[[], T]) -> T:
        """Do blocking work in a thread, its OSErrors told as blob errors."""

        def told() -> T:
            try:
                return call()
            except OSError as error:
                raise self._tell(error) from error

        return await self._threads.run(told)

    def make_folder_of(self, path: Path) -> None:
        """Make the folders between the root and a file, durably. FileNotFoundError where there is no root."""
        below_root = [folder for folder in reversed(path.parents) if folder.is_relative_to(self.root)]
        self._make_durable(below_root[1:])

    def _make_durable(self, folders: list[Path]) -> None:
        for folder in folders:
            new = durable.make_folder(folder)
            if new or folder not in self._durable_folders:
                self._sync_name_of(folder, new)

    def _sync_name_of(self, folder: Path, new: bool) -> None:
        try:
            durable.sync_folder(folder.parent)
        except OSError:
            # The folders above the root are often not ours to open. What we made there must be durable; what
            # was there before us is not ours to answer for.
            if new or self.root in folder.parents:
                raise
        self._durable_folders.add(folder)

    def require(self) -> None:
        """Raise FileNotFoundError where there is no root: an absent store is not an absent blob."""
        os.stat(self.root)

    def _probe(self) -> None:
        probe = self.root / f".check.{secrets.token_hex(8)}"
        durable.write_whole(probe, b"daicho")
        os.unlink(probe)

    def _tell(self, error: OSError) -> BlobError:
        found = f"{errno.errorcode.get(error.errno or 0, 'OSError')} ({error.strerror})"
        where = error.filename or self.root
        if error.errno in _DENIED:
            return BlobAccessDenied(
                f"The blob store in {self.root} may not be used: {where}",
                found=found,
                fix="Give the user that runs daicho read and write access to that folder",
            )
        if error.errno in {errno.ENOENT, errno.ENOTDIR} and not os.path.isdir(self.root):
            return BlobStoreMissing(
                f"There is no blob store in {self.root}",
                expected="a folder",
                found=found,
                fix="Run `daicho init`, which makes it",
            )
        return BlobStoreUnavailable(f"The blob store in {self.root} is failing: {where}", found=found)


class FilesystemBlobStore:
    """The blobs of one prefix under a root. Implements BlobStore.

    `root` is a folder, which this store then has to itself, or a FilesystemRoot shared with others.
    """

    def __init__(self, root: Path | FilesystemRoot, prefix: str) -> None:
        self._prefix = parse_prefix(prefix)
        self._owns_root = not isinstance(root, FilesystemRoot)
        self._root = root if isinstance(root, FilesystemRoot) else FilesystemRoot(root)

    async def put(self, content: bytes) -> Digest:
        """See BlobStore.put. A full disk raises BlobStoreUnavailable and leaves nothing behind."""
        return await self._root.run(lambda: self._put(content))

    async def get(self, digest: Digest) -> bytes:
        """See BlobStore.get."""
        path = self.path_of(digest)
        return await self._root.run(lambda: self._get(path, digest))

    async def exists(self, digest: Digest) -> bool:
        """See BlobStore.exists."""
        path = self.path_of(digest)
        return await self._root.run(lambda: self._stored_digest(path) == digest)

    async def check(self) -> None:
        """See BlobStore.check."""
        await self._root.check()

    async def prepare(self) -> None:
        """See BlobStore.prepare."""
        await self._root.prepare()

    async def close(self) -> None:
        """See BlobStore.close."""
        if self._owns_root:
            await self._root.close()

    def describe(self) -> str:
        """`folder /path, prefix acme`."""
        return f"{self._root.describe()}, prefix {self._prefix}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def path_of(self, digest: Digest) -> Path:
        """The file of a blob, there or not. Raises InvalidDigest."""
        return self._root.root / blob_key(self._prefix, digest)

    def _put(self, content: bytes) -> Digest:
        digest = digest_of(content)
        path = self.path_of(digest)
        self._root.make_folder_of(path)
        if self._stored_digest(path) == digest:
            # Whole and visible; but whoever renamed it may not have come to the fsync of the folder.
            durable.sync_folder(path.parent)
        else:
            durable.write_whole(path, content)
        return digest

    def _get(self, path: Path, digest: Digest) -> bytes:
        try:
            content = b"".join(durable.read_chunks(path))
        except FileNotFoundError:
            self._root.require()
            raise BlobNotFound(f"No blob {digest} in {self.describe()}") from None
        found = digest_of(content)
        if found != digest:
            raise BlobCorrupt(
                f"The {len(content)} bytes in {path} are not the blob they are filed as",
                expected=digest,
                found=found,
                fix="Put the content again, which rewrites it whole",
            )
        return content

    def _stored_digest(self, path: Path) -> Digest | None:
        """The digest of the bytes that are there; None where no file is."""
        try:
            return digest_of_chunks(durable.read_chunks(path))
        except FileNotFoundError:
            self._root.require()
            return None
