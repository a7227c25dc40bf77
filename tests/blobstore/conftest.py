"""Where the blob store's tests run: a *place* is a fresh prefix in a backend, with a way to damage its blobs.

Backends: a folder; a real Swift; a real Ceph, where it is installed; and the S3 server that MINIO_ENDPOINT,
MINIO_ACCESS_KEY and MINIO_SECRET_KEY name, where they are set (`make test-minio`).
"""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.deleteobjects import DeleteObject

from blobstore import BlobBackend, BlobStore, Digest, FilesystemRoot, MinioConnection
from blobstore.durable import NewFile
from blobstore.keys import blob_key
from tests.conftest import NAMED_SERVER
from tests.servers import ceph as ceph_
from tests.servers.s3_server import S3Server
from tests.servers.sharing import shared_server

SERVERS = ["swift", "ceph", *(["named_server"] if NAMED_SERVER in os.environ else [])]
PLACES = ["folder", "compressed_folder", *SERVERS]


@dataclass(frozen=True)
class Bucket:
    """A bucket at a server that runs, and the SDK's own client to reach behind the store's back."""

    server: S3Server
    name: str
    client: Minio

    def connection(self, **changed: object) -> MinioConnection:
        settings: dict[str, object] = {
            "endpoint": self.server.endpoint,
            "access_key": self.server.access_key,
            "secret_key": self.server.secret_key,
            "bucket": self.name,
        }
        return MinioConnection(**(settings | changed))  # type: ignore[arg-type]

    def empty(self, name: str) -> None:
        """Remove every version of every object from a bucket, locked ones as their governor."""
        found = self.client.list_objects(name, recursive=True, include_version=True)
        for each in found:
            self.client._execute(
                "DELETE",
                name,
                each.object_name,
                query_params={"versionId": each.version_id} if each.version_id else None,
                headers={"x-amz-bypass-governance-retention": "true"},
            )


@dataclass(frozen=True)
class Place:
    """One backend, and two prefixes nobody has used before: `store` and `neighbour`."""

    backend: BlobBackend
    prefix: str
    store: BlobStore
    neighbour: BlobStore
    write: Callable[[str, bytes], None]
    """Lay bytes at a key, past the store."""
    begin: Callable[[str], None]
    """Leave behind, under a key's folder, what a put leaves that is killed before its end."""
    impatient: BlobStore
    """The same blobs as `store`, seen by a backend that renews what is put again however young it is."""

    @property
    def is_folder(self) -> bool:
        return isinstance(self.backend, FilesystemRoot)

    def damage(self, digest: Digest, content: bytes) -> None:
        """Replace a stored blob's bytes, as a bad disk or a bad hand would."""
        self.write(blob_key(self.prefix, digest), content)


@contextmanager
def bucket_at(server: S3Server) -> Iterator[Bucket]:
    client = Minio(server.endpoint, server.access_key, server.secret_key, secure=False)
    bucket = Bucket(server, f"daicho-test-{secrets.token_hex(6)}", client)
    client.make_bucket(bucket.name)
    yield bucket
    found = client.list_objects(bucket.name, recursive=True)
    for error in client.remove_objects(bucket.name, (DeleteObject(o.object_name or "") for o in found)):
        raise AssertionError(f"left behind: {error}")
    client.remove_bucket(bucket.name)


@pytest.fixture(scope="session")
def swift(run_folder: Path) -> Iterator[Bucket]:
    with (
        shared_server(run_folder / "swift", "tests.servers.swift:swift_server") as server,
        bucket_at(server) as bucket,
    ):
        yield bucket


@pytest.fixture(scope="session")
def ceph(run_folder: Path) -> Iterator[Bucket]:
    if missing := ceph_.missing_programs():
        pytest.skip(
            f"Ceph's S3 gateway; {missing[0]} is not installed (Debian: apt-get install {ceph_.PACKAGES})"
        )
    with (
        shared_server(run_folder / "ceph", "tests.servers.ceph:ceph_server") as server,
        bucket_at(server) as bucket,
    ):
        yield bucket


@pytest.fixture(scope="session")
def named_server() -> Iterator[Bucket]:
    endpoint, access_key, secret_key = os.environ[NAMED_SERVER].split(" ")
    with bucket_at(S3Server(endpoint, access_key, secret_key)) as bucket:
        yield bucket


@pytest.fixture(params=SERVERS)
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A bucket at each server there is."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    backend: BlobBackend
    impatient: BlobBackend
    if request.param.endswith("folder"):
        compression: Any = "zstd" if request.param == "compressed_folder" else "none"
        backend = FilesystemRoot(tmp_path / "blobs", compression=compression)
        impatient = FilesystemRoot(tmp_path / "blobs", compression=compression, renewed_seconds=-1)
        write, begin = _writer_of_folder(tmp_path / "blobs"), _beginner_in_folder(tmp_path / "blobs")
    else:
        bucket: Bucket = request.getfixturevalue(request.param)
        backend = bucket.connection()
        impatient = bucket.connection(renewed_seconds=-1)
        write, begin = _writer_of_bucket(bucket), _beginner_in_bucket(bucket)
    await backend.prepare()
    prefix = f"t_{secrets.token_hex(8)}"
    stores = backend.store(prefix), backend.store(f"{prefix}_2")
    yield Place(backend, prefix, *stores, write, begin, impatient.store(prefix))
    await backend.close()
    await impatient.close()


@pytest.fixture
def blob_store(place: Place) -> BlobStore:
    return place.store


def _writer_of_folder(root: Path) -> Callable[[str, bytes], None]:
    def write(key: str, content: bytes) -> None:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)

    return write


def _writer_of_bucket(bucket: Bucket) -> Callable[[str, bytes], None]:
    def write(key: str, content: bytes) -> None:
        bucket.client.put_object(bucket.name, key, BytesIO(content), len(content))

    return write


def _beginner_in_folder(root: Path) -> Callable[[str], None]:
    def begin(key: str) -> None:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        NewFile((root / key).parent).write(b"cut short")

    return begin


def _beginner_in_bucket(bucket: Bucket) -> Callable[[str], None]:
    def begin(key: str) -> None:
        bucket.client._create_multipart_upload(bucket.name, key, {})

    return begin
