"""Blobs in a folder: `<root>/<prefix>/sha256/ab/<digest>`. For one machine, and for embedded use.

A *root* is the folder that the stores of many prefixes share, with the threads that do their work.
How a file gets there whole and durably is told in `durable.py`.
"""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from blobstore import durable
from blobstore.digest import Digest, digest_of, digest_of_chunks, parse_digest, parse_digest_prefix
from blobstore.downloads import require_download
from blobstore.errors import (
    BlobAccessDenied,
    BlobCorrupt,
    BlobError,
    BlobNotFound,
    BlobStoreMissing,
    BlobStoreUnavailable,
    BlobUrlUnsupported,
    InvalidDigest,
)
from blobstore.keys import blob_folder, blob_key, parse_prefix
from blobstore.protocol import RENEWED_SECONDS, URL_SECONDS, BlobStat
from blobstore.streams import blocks, proven, pulled, require_age, require_bytes, require_range
from blobstore.threads import Threads

T = TypeVar("T")

_FOLDER_NAME = re.compile(r"[0-9a-f]{2}")

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FilesystemRoot:
    """The backend: a folder (made by `prepare`) and at most 32 threads. Construction touches nothing.

    A put renews a blob that is older than `renewed_seconds`.
    """

    def __init__(self, root: Path, *, renewed_seconds: float = RENEWED_SECONDS) -> None:
        self.root = Path(root).absolute()
        self.renewed_seconds = renewed_seconds
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

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably. FileNotFoundError where there is no root."""
        below_root = [each for each in reversed([folder, *folder.parents]) if each.is_relative_to(self.root)]
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
        self._folder = self._root.root / blob_folder(self._prefix)

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Digest:
        """See BlobStore.put. A full disk raises BlobStoreUnavailable and leaves nothing behind."""
        if isinstance(content, AsyncIterable):
            return await self._put_stream(content)
        require_bytes(content)
        return await self._root.run(lambda: self._put(content))

    async def get(self, digest: Digest) -> bytes:
        """See BlobStore.get."""
        path = self.path_of(digest)
        return await self._root.run(lambda: b"".join(self._whole(path, digest)))

    @asynccontextmanager
    async def open(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See BlobStore.open."""
        path = self.path_of(digest)
        require_range(start, stop)
        whole = start == 0 and stop is None
        blocks = self._whole(path, digest) if whole else self._part(path, digest, start, stop)
        async with pulled(blocks, self._root.run) as chunks:
            yield chunks

    async def stat(self, digest: Digest) -> BlobStat:
        """See BlobStore.stat."""
        path = self.path_of(digest)
        return await self._root.run(lambda: self._stat(path, digest))

    async def exists(self, digest: Digest) -> bool:
        """See BlobStore.exists."""
        path = self.path_of(digest)
        return await self._root.run(lambda: self._stored_digest(path) == digest)

    async def verify(self, digest: Digest) -> int:
        """See BlobStore.verify."""
        path = self.path_of(digest)
        return await self._root.run(lambda: sum(map(len, self._whole(path, digest))))

    async def presign(
        self,
        digest: Digest,
        *,
        file_name: str,
        content_type: str = "application/octet-stream",
        expires_seconds: int = URL_SECONDS,
    ) -> str:
        """Raises BlobUrlUnsupported. A file: URL would not expire, carry a name or a content type, or work
        for anybody but the user that runs daicho on this machine."""
        self.path_of(digest)
        require_download(content_type, expires_seconds)
        raise BlobUrlUnsupported(
            f"{self.describe()} has no server that could answer a URL",
            expected="an S3 server",
            fix="Read the blob with `get` (`daicho blob get`), or keep blobs in a bucket",
        )

    async def iterate(
        self, digest_prefix: str = "", *, after: Digest | None = None
    ) -> AsyncIterator[BlobStat]:
        """See BlobStore.iterate. One folder's names, a 256th of the blobs, are held at a time."""
        parse_digest_prefix(digest_prefix)
        least = "" if after is None else parse_digest(after)
        for folder in await self._root.run(self._folders):
            if not digest_prefix.startswith(folder.name) and not folder.name.startswith(digest_prefix):
                continue
            if folder.name < least[:2]:
                continue
            for digest in await self._root.run(partial(_digests_in, folder)):
                if digest.startswith(digest_prefix) and digest > least:
                    with suppress(BlobNotFound):  # deleted meanwhile
                        yield await self.stat(digest)

    async def delete(self, digest: Digest) -> None:
        """See BlobStore.delete."""
        path = self.path_of(digest)
        await self._root.run(lambda: self._delete(path))

    async def clear_unfinished(self, older_than_seconds: float) -> int:
        """See BlobStore.clear_unfinished."""
        require_age(older_than_seconds)
        return await self._root.run(lambda: self._clear_unfinished(older_than_seconds))

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
        self._root.make_folder(path.parent)
        if not self._is_renewed(path, digest):
            durable.write_whole(path, content)
        return digest

    def _is_renewed(self, path: Path, digest: Digest) -> bool:
        """True where the blob is there whole, durably, and is young or has been made so."""
        if self._stored_digest(path) != digest:
            return False
        try:
            durable.renew(path, self._root.renewed_seconds)
        except FileNotFoundError:  # deleted meanwhile
            return False
        # Whole and visible; but whoever renamed it may not have come to the fsync of the folder.
        durable.sync_folder(path.parent)
        return True

    async def _put_stream(self, chunks: AsyncIterable[bytes]) -> Digest:
        # In no blob's folder yet: which one is known when the last byte is.
        file = await self._root.run(lambda: self._new_file(self._folder))
        lock = Lock()  # a cancelled write is still running in its thread
        running = hashlib.sha256()

        def write(block: bytes) -> None:
            with lock:
                running.update(block)
                file.write(block)

        def finish() -> Digest:
            with lock:
                return self._keep(file, Digest(running.hexdigest()))

        def discard() -> None:
            with lock:
                file.discard()

        try:
            async for block in blocks(chunks):
                await self._root.run(partial(write, block))
            return await self._root.run(finish)
        finally:
            await self._root.run(discard)

    def _new_file(self, folder: Path) -> durable.NewFile:
        self._root.make_folder(folder)
        return durable.NewFile(folder)

    def _keep(self, file: durable.NewFile, digest: Digest) -> Digest:
        path = self.path_of(digest)
        self._root.make_folder(path.parent)
        if not self._is_renewed(path, digest):
            file.become(path)
        return digest

    def _whole(self, path: Path, digest: Digest) -> Generator[bytes, None, None]:
        """The blob's bytes, proven by the last."""
        yield from proven(self._part(path, digest, 0, None), digest, partial(self._corrupt, path, digest))

    def _part(
        self, path: Path, digest: Digest, start: int, stop: int | None
    ) -> Generator[bytes, None, None]:
        try:
            yield from durable.read_blocks(path, start, stop)
        except FileNotFoundError:
            raise self._not_found(digest) from None

    def _stat(self, path: Path, digest: Digest) -> BlobStat:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise self._not_found(digest) from None
        return BlobStat(digest, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _folders(self) -> list[Path]:
        self._root.require()
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:  # nothing was ever put
            return []
        return [self._folder / name for name in sorted(names) if _FOLDER_NAME.fullmatch(name)]

    def _delete(self, path: Path) -> None:
        try:
            durable.remove(path)
        except FileNotFoundError:  # not even its folder
            self._root.require()

    def _clear_unfinished(self, older_than_seconds: float) -> int:
        folders = self._folders()
        return sum(
            durable.clear_unfinished(folder, older_than_seconds)
            for folder in ([self._folder, *folders] if self._folder.is_dir() else [])
        )

    def _not_found(self, digest: Digest) -> BlobNotFound:
        """Raises FileNotFoundError where there is no root: an absent store is not an absent blob."""
        self._root.require()
        return BlobNotFound(f"No blob {digest} in {self.describe()}")

    def _corrupt(self, path: Path, digest: Digest, found: Digest) -> BlobCorrupt:
        return BlobCorrupt(
            f"The bytes in {path} are not the blob they are filed as",
            expected=digest,
            found=found,
            fix="Put the content again, which rewrites it whole",
        )

    def _stored_digest(self, path: Path) -> Digest | None:
        """The digest of the bytes that are there; None where no file is."""
        try:
            return digest_of_chunks(durable.read_blocks(path))
        except FileNotFoundError:
            self._root.require()
            return None


def _digests_in(folder: Path) -> list[Digest]:
    found = []
    for name in os.listdir(folder):
        with suppress(InvalidDigest):
            if name.startswith(folder.name):
                found.append(parse_digest(name))
    return sorted(found)
