"""One blob on its way to the disk, in the steps that `durable` tells, for one alone or for many together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from blobstore import durable
from blobstore.digest import Digest, digest_of
from blobstore.filesystem import files


class Place:
    """Where the blobs of one prefix go. The calls block.

    `path_of` names a blob's file; `make_folder` makes a folder and returns those whose names may not be
    durable.
    """

    def __init__(
        self,
        path_of: Callable[[Digest], Path],
        make_folder: Callable[[Path], list[Path]],
        renewed_seconds: float,
        compress: bool,
    ) -> None:
        self.path_of = path_of
        self.make_folder = make_folder
        self.compress = compress
        self._renewed_seconds = renewed_seconds

    def is_there(self, path: Path, digest: Digest) -> bool:
        """True where the blob is there whole, and is young or has been made so. Its name may not be durable:
        who renamed it may not have come to the sync of its folder."""
        if files.stored_digest(path) != digest:
            return False
        try:
            files.renew(path, self._renewed_seconds)
        except FileNotFoundError:  # deleted meanwhile
            return False
        return True


class Put:
    """Bytes to be put at a place. `error` is what became of it, where that is its own trouble."""

    def __init__(self, place: Place, content: bytes) -> None:
        self.digest = digest_of(content)
        self.error: OSError | None = None
        self._place, self._content = place, content
        self._path = place.path_of(self.digest)
        self._blob: files.NewBlob | None = None

    @property
    def folder(self) -> Path:
        """Where its name will be."""
        return self._path.parent

    def write(self, *, sync: bool) -> list[Path]:
        """Write it under a temporary name, if it is not there. Returns the folders that are to be synced."""
        made = self._place.make_folder(self.folder)
        if not self._place.is_there(self._path, self.digest):
            self._blob = files.NewBlob(self.folder, self._place.compress)
            self._blob.write_all(self._content)
            self._blob.end(sync=sync)
        return made

    def publish(self) -> None:
        """Put it under its name."""
        if self._blob is not None:
            self._blob.publish(self._path)

    def discard(self) -> None:
        """Remove what was not published."""
        if self._blob is not None:
            self._blob.discard()


Synced = Callable[[Sequence[Path]], None]
"""Told of folders whose names are to be durable (alone), or have become so (together)."""


def put_alone(put: Put, sync_names: Synced) -> None:
    """Put it, with a sync of its own for each step. Raises OSError."""
    try:
        sync_names(put.write(sync=True))
        put.publish()
        durable.sync_folder(put.folder)
    finally:
        put.discard()


def put_together(puts: Sequence[Put], root: Path, names_are_durable: Synced) -> None:
    """Put all of them, with two syncs of the root's whole file system.

    Raises OSError for what is everybody's trouble: then none of them may be acknowledged.
    """
    file_system = durable.open_folder(root)  # before the first write: it tells of what failed since
    try:
        made: list[Path] = []
        _each(puts, lambda put: made.extend(put.write(sync=False)))
        durable.sync_file_system(file_system)
        names_are_durable(made)
        _each(puts, Put.publish)
        durable.sync_file_system(file_system)
    finally:
        durable.close_folder(file_system)
        for put in puts:
            put.discard()


def _each(puts: Sequence[Put], step: Callable[[Put], None]) -> None:
    for put in puts:
        if put.error is None:
            try:
                step(put)
            except OSError as error:
                put.error = error
