"""ArchiveReader: an archive that is checked whole before anything of it is believed."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from blobstore import Digest, InvalidDigest, parse_digest
from ledger.errors import ArchiveDamaged, ArchiveUnreadable
from ledger.lifecycle.archive.manifest import FORMAT, FORMAT_VERSION, Checkpoints, Manifest
from ledger.lifecycle.archive.writer import SUMS
from ledger.lifecycle.log_tables import LogTable

CHUNK_BYTES = 1024 * 1024
MEMBER_BYTES_MAX = 2**30
"""Of a member of lines, unpacked: 10,000 events of 64 KiB are less."""
Model = TypeVar("Model", bound=BaseModel)
_OURS = "a file that `daicho tenant export` made"
_AGAIN = "Export the tenant again, or fetch the archive again; nothing was changed"


class ArchiveReader:
    """`digest` is the sha256 of SHA256SUMS, and so of everything in it."""

    def __init__(
        self, path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], digest: str
    ) -> None:
        self.path = path
        self.digest = digest
        self._tar = tar
        self._members = members
        self.manifest = self._model("manifest.json", Manifest)
        self.checkpoints = self._model("checkpoints.json", Checkpoints)

    @classmethod
    def open(cls, path: Path) -> "ArchiveReader":
        """Reads and hashes every member first. Raises ArchiveUnreadable where there is no such file or it is
        none of ours, ArchiveDamaged where a member is missing, surplus or not as SHA256SUMS says."""
        try:
            tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed with the reader
        except (OSError, tarfile.TarError) as error:
            raise ArchiveUnreadable(f"{path} cannot be read as an archive: {error}", expected=_OURS) from None
        try:
            return cls(path, tar, *_checked(path, tar))
        except BaseException:
            tar.close()
            raise

    def rows(self, table: LogTable) -> Iterator[list[tuple[Any, ...]]]:
        """The table's rows in order, a member's at a time."""
        for name in self._members:
            if name.startswith(f"{table.name}/"):
                yield [table.row(line) for line in self._lines(name)]

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        """The digest and size in bytes of each body."""
        for name, info in self._members.items():
            if name.startswith("blobs/"):
                try:
                    yield parse_digest(name.rpartition("/")[2]), info.size
                except InvalidDigest:
                    problem = f"{name} of {self.path} is not named by a digest"
                    raise ArchiveDamaged(problem, fix=_AGAIN) from None

    def blob(self, digest: Digest) -> Iterator[bytes]:
        yield from _chunks(self._file(blob_member(digest)))

    def close(self) -> None:
        self._tar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _lines(self, name: str) -> list[bytes]:
        try:
            with gzip.GzipFile(fileobj=self._file(name)) as packed:
                content = packed.read(MEMBER_BYTES_MAX + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ArchiveDamaged(f"{name} of {self.path} cannot be unpacked: {error}", fix=_AGAIN) from None
        if len(content) > MEMBER_BYTES_MAX:
            problem = f"{name} of {self.path} unpacks to over {MEMBER_BYTES_MAX} bytes"
            raise ArchiveDamaged(problem, fix=_AGAIN)
        return content.splitlines()

    def _model(self, name: str, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(self._file(name).read(MEMBER_BYTES_MAX))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "it"
            raise ArchiveUnreadable(
                f"{name} of {self.path} is not valid: {where}: {problem['msg']}",
                expected=f"{FORMAT}, format version {FORMAT_VERSION}",
                fix="Import it with the daicho that understands it; nothing was changed",
            ) from None

    def _file(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name])
        assert file is not None, "only regular members were let in"
        return file


def blob_member(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest}"


def _checked(path: Path, tar: tarfile.TarFile) -> tuple[dict[str, tarfile.TarInfo], str]:
    """The members by name, in order, every one as SHA256SUMS says, and the digest of that."""
    members: dict[str, tarfile.TarInfo] = {}
    found: dict[str, str] = {}
    try:
        for info in tar:
            if not info.isreg() or info.name in members:
                raise ArchiveDamaged(f"{info.name} of {path} is no regular file, or there twice", fix=_AGAIN)
            members[info.name] = info
            if info.name != SUMS:
                found[info.name] = _hashed(tar, info)
        sums = members.pop(SUMS)
        expected, digest = _sums(tar, sums), _hashed(tar, sums)
    except KeyError:
        raise ArchiveDamaged(f"{path} has no {SUMS}: its export was not finished", fix=_AGAIN) from None
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError, ValueError) as error:
        raise ArchiveDamaged(f"{path} cannot be read to its end: {error}", fix=_AGAIN) from None
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ArchiveDamaged(
                f"{name} of {path} is not as it was exported",
                expected=f"sha256 {expected.get(name, 'of no such member')}",
                found=f"sha256 {found.get(name, 'of no such member')}",
                fix=_AGAIN,
            )
    for needed in ("manifest.json", "checkpoints.json"):
        if needed not in members:
            raise ArchiveUnreadable(f"{path} has no {needed}", expected=_OURS)
    return members, digest


def _sums(tar: tarfile.TarFile, info: tarfile.TarInfo) -> dict[str, str]:
    file = tar.extractfile(info)
    assert file is not None
    sums: dict[str, str] = {}
    for line in file.read(MEMBER_BYTES_MAX).decode().splitlines():
        digest, name = line.split("  ", 1)
        sums[name] = digest
    return sums


def _hashed(tar: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    file = tar.extractfile(info)
    assert file is not None
    hashed = sha256()
    for chunk in _chunks(file):
        hashed.update(chunk)
    return hashed.hexdigest()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
