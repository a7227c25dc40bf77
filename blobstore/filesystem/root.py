"""A *root* is the folder that the stores of many prefixes share, with the threads that do their work."""

import errno
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from blobstore import durable, syncfs
from blobstore.digest import Digest
from blobstore.errors import BlobAccessDenied, BlobError, BlobStoreMissing, BlobStoreUnavailable
from blobstore.filesystem.grouping import Grouping
from blobstore.filesystem.put import Put, put_alone, put_together
from blobstore.filesystem.store import FilesystemBlobStore
from blobstore.filesystem.zstd_frames import require_zstandard
from blobstore.protocol import RENEWED_SECONDS
from blobstore.threads import Threads

T = TypeVar("T")

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FilesystemRoot:
    """The backend: a folder (made by `prepare`) and at most 32 threads. Construction touches nothing.

    A put renews a blob that is older than `renewed_seconds`, and compresses what is new with `compression`;
    blobs written with another are read all the same. Raises BlobStoreMisconfigured where zstd is not
    installed.
    """

    def __init__(
        self,
        root: Path,
        *,
        renewed_seconds: float = RENEWED_SECONDS,
        compression: Literal["none", "zstd"] = "none",
    ) -> None:
        self.root = Path(root).absolute()
        self.renewed_seconds = renewed_seconds
        self.compress = compression == "zstd"
        if self.compress:
            require_zstandard()
        self._threads = Threads("blobs-folder")
        self._grouping = Grouping(
            self.run, self._put_alone, self._put_together, lambda: syncfs.is_reliable(self.root), self._tell
        )
        # Folders whose own name this process has made durable. A folder found there may have been made a
        # moment ago by a process that died before its fsync, so the first put into each pays one.
        self._durable_folders: set[Path] = set()

    def store(self, prefix: str) -> FilesystemBlobStore:
        """The store of one prefix. Raises BlobStoreMisconfigured."""
        return FilesystemBlobStore(self, prefix)

    async def check(self) -> None:
        """Write, fsync and remove a small file in the root."""
        await self.run(self._probe)

    async def prepare(self) -> None:
        """Make the root and its parents, durably."""
        await self.run(self._prepare)

    async def close(self) -> None:
        """Wait for calls under way and end the threads."""
        await self._grouping.close()
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

    async def put(self, put: Put) -> Digest:
        """Put a small blob, together with others that come at the same time. Returns once it is durable."""
        return await self._grouping.put(put)

    def make_folder(self, folder: Path) -> list[Path]:
        """Make a folder and those above it. FileNotFoundError where there is no root. Returns those whose
        names this process has not made durable."""
        if folder in self._durable_folders and os.path.isdir(folder):
            return []
        below_root = [each for each in reversed([folder, *folder.parents]) if each.is_relative_to(self.root)]
        for each in below_root[1:]:
            durable.make_folder(each)
        return [each for each in below_root[1:] if each not in self._durable_folders]

    def sync_names(self, folders: Sequence[Path]) -> None:
        """Make the names of these folders durable."""
        for folder in folders:
            durable.sync_folder(folder.parent)
            self._durable_folders.add(folder)

    def require(self) -> None:
        """Raise FileNotFoundError where there is no root: an absent store is not an absent blob."""
        os.stat(self.root)

    def _put_alone(self, put: Put) -> None:
        put_alone(put, self.sync_names)

    def _put_together(self, puts: Sequence[Put]) -> None:
        put_together(puts, self.root, self._durable_folders.update)

    def _prepare(self) -> None:
        for folder in [*reversed(self.root.parents), self.root]:
            new = durable.make_folder(folder)
            try:
                self.sync_names([folder])
            except OSError:
                # The folders above the root are often not ours to open. What we made there must be durable;
                # what was there before us is not ours to answer for.
                if new:
                    raise

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
