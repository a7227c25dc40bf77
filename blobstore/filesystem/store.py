"""Blobs in a folder: `<root>/<prefix>/sha256/ab/<digest>`. For one machine, and for embedded use.

How a file gets there whole and durably is told in `durable.py`; how it is compressed, in `zstd_frames.py`.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Generator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from blobstore import durable
from blobstore.digest import Digest, digest_of, parse_digest, parse_digest_prefix
from blobstore.downloads import require_download
from blobstore.errors import BlobCorrupt, BlobNotFound, BlobUrlUnsupported, InvalidDigest
from blobstore.filesystem import files
from blobstore.filesystem.grouping import BODY_BYTES_MAX
from blobstore.filesystem.put import Place, Put
from blobstore.filesystem.zstd_frames import SUFFIX, DamagedFrames
from blobstore.keys import blob_folder, blob_key, parse_prefix
from blobstore.protocol import URL_SECONDS, BlobStat
from blobstore.streams import BLOCK_BYTES, blocks, proven, pulled, require_age, require_bytes, require_range

if TYPE_CHECKING:
    from blobstore.filesystem.root import FilesystemRoot

_FOLDER_NAME = re.compile(r"[0-9a-f]{2}")


class FilesystemBlobStore:
    """The blobs of one prefix under a root. Implements BlobStore."""

    def __init__(self, root: "FilesystemRoot", prefix: str) -> None:
        self._prefix = parse_prefix(prefix)
        self._root = root
        self._folder = root.root / blob_folder(self._prefix)
        self._place = Place(self.path_of, root.make_folder, root.renewed_seconds, root.compress)

    async def put(self, content: bytes | AsyncIterable[bytes]) -> Digest:
        """See BlobStore.put. A full disk raises BlobStoreUnavailable and leaves nothing behind."""
        if isinstance(content, AsyncIterable):
            return await self._put_stream(content)
        require_bytes(content)
        if len(content) <= BODY_BYTES_MAX:
            return await self._root.put(Put(self._place, content))
        return await self._put_large(content)

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
        return await self._root.run(lambda: self._is_whole(path, digest))

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
                        yield await self._root.run(partial(self._listed, digest))

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
        """Nothing: the root is shared, and closed by whoever opened it."""

    def describe(self) -> str:
        """`folder /path, prefix acme`."""
        return f"{self._root.describe()}, prefix {self._prefix}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def path_of(self, digest: Digest) -> Path:
        """The file of a blob, there or not. Raises InvalidDigest."""
        return self._root.root / blob_key(self._prefix, digest)

    async def _put_large(self, content: bytes) -> Digest:
        """Hash and write at the same time, each in a thread: what is there already is found out meanwhile."""
        blob = await self._root.run(self._new_blob)
        unwanted = Event()

        def write() -> None:
            for start in range(0, len(content), BLOCK_BYTES):
                if unwanted.is_set():
                    return
                blob.write(content[start : start + BLOCK_BYTES])
            blob.end(sync=True)

        def is_there(digest: Digest) -> bool:
            return self._place.is_there(self.path_of(digest), digest)

        writing = asyncio.create_task(self._root.run(write))
        try:
            digest = await self._root.run(lambda: digest_of(content))
            wanted = not await self._root.run(partial(is_there, digest))
            if wanted:
                await asyncio.shield(writing)
            return await self._root.run(partial(self._keep, blob, digest, wanted))
        finally:
            unwanted.set()
            await asyncio.gather(writing, return_exceptions=True)
            await self._root.run(blob.discard)

    async def _put_stream(self, chunks: AsyncIterable[bytes]) -> Digest:
        # In no blob's folder yet: which one is known when the last byte is.
        blob = await self._root.run(self._new_blob)
        lock = Lock()  # a cancelled write is still running in its thread
        running = hashlib.sha256()

        def write(block: bytes) -> None:
            with lock:
                running.update(block)
                blob.write(block)

        def finish() -> Digest:
            with lock:
                digest = Digest(running.hexdigest())
                wanted = not self._place.is_there(self.path_of(digest), digest)
                if wanted:
                    blob.end(sync=True)
                return self._keep(blob, digest, wanted)

        def discard() -> None:
            with lock:
                blob.discard()

        try:
            async for block in blocks(chunks):
                await self._root.run(partial(write, block))
            return await self._root.run(finish)
        finally:
            await self._root.run(discard)

    def _new_blob(self) -> files.NewBlob:
        self._root.sync_names(self._root.make_folder(self._folder))
        return files.NewBlob(self._folder, self._root.compress)

    def _keep(self, blob: files.NewBlob, digest: Digest, wanted: bool) -> Digest:
        """Put a blob that is written and synced under its name, if it is wanted; make the name durable."""
        path = self.path_of(digest)
        self._root.sync_names(self._root.make_folder(path.parent))
        if wanted:
            blob.publish(path)
        durable.sync_folder(path.parent)
        return digest

    def _is_whole(self, path: Path, digest: Digest) -> bool:
        if (found := files.stored_digest(path)) is None:
            self._root.require()
        return found == digest

    def _whole(self, path: Path, digest: Digest) -> Generator[bytes, None, None]:
        """The blob's bytes, proven by the last."""
        yield from proven(self._part(path, digest, 0, None), digest, partial(self._corrupt, path, digest))

    def _part(self, path: Path, digest: Digest, start: int, stop: int | None) -> Generator[bytes, None, None]:
        try:
            yield from files.read(path, start, stop)
        except FileNotFoundError:
            raise self._not_found(digest) from None
        except DamagedFrames as damage:
            raise self._corrupt(path, digest, f"bytes that cannot be decompressed: {damage}") from damage

    def _stat(self, path: Path, digest: Digest) -> BlobStat:
        try:
            size, modified = files.stat(path)
        except FileNotFoundError:
            raise self._not_found(digest) from None
        except DamagedFrames as damage:
            raise self._corrupt(path, digest, f"bytes that cannot be decompressed: {damage}") from damage
        return BlobStat(digest, size, datetime.fromtimestamp(modified, UTC))

    def _listed(self, digest: Digest) -> BlobStat:
        """As `stat`; a damaged file that does not tell its content's size is listed with that of the file."""
        try:
            return self._stat(self.path_of(digest), digest)
        except BlobCorrupt:
            file = files.compressed(self.path_of(digest))
            found = os.stat(file)
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
            files.remove(path)
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

    def _corrupt(self, path: Path, digest: Digest, found: str) -> BlobCorrupt:
        return BlobCorrupt(
            f"The bytes in {path} are not the blob they are filed as",
            expected=digest,
            found=found,
            fix="Put the content again, which rewrites it whole",
        )


def _digests_in(folder: Path) -> list[Digest]:
    found = set()
    for name in os.listdir(folder):
        with suppress(InvalidDigest):
            if name.startswith(folder.name):
                found.add(parse_digest(name.removesuffix(SUFFIX)))
    return sorted(found)
