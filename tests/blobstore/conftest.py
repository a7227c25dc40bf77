"""Where the blob store's tests run: a *place* is a fresh prefix in a backend, with a way to damage its blobs.

Backends: a folder, a real Swift (one per test worker, one second to start), and the S3 server that
DAICHO_TEST_MINIO_ENDPOINT, _ACCESS_KEY and _SECRET_KEY name, where they are set.
"""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio
from minio.deleteobjects import DeleteObject

sys.path.insert(0, str(Path(__file__).parents[2]))

from blobstore import BlobBackend, BlobStore, Digest, FilesystemRoot, MinioConnection
from blobstore.durable import NewFile
from blobstore.keys import blob_key
from tests.servers.swift import S3Server, swift_server

PLACES = ["folder", "swift"]
if "DAICHO_TEST_MINIO_ENDPOINT" in os.environ:
    PLACES.append("named_server")


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
def swift() -> Iterator[Bucket]:
    with swift_server() as server, bucket_at(server) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def named_server() -> Iterator[Bucket]:
    env = os.environ
    server = S3Server(
        env["DAICHO_TEST_MINIO_ENDPOINT"],
        env.get("DAICHO_TEST_MINIO_ACCESS_KEY", "minioadmin"),
        env.get("DAICHO_TEST_MINIO_SECRET_KEY", "minioadmin"),
    )
    with bucket_at(server) as bucket:
        yield bucket


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    backend: BlobBackend
    impatient: BlobBackend
    if request.param == "folder":
        backend = FilesystemRoot(tmp_path / "blobs")
        impatient = FilesystemRoot(tmp_path / "blobs", renewed_seconds=-1)
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
