"""Artifacts: bytes by content, references in events; the blob is durable before the event."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blobstore import BlobCorrupt, BlobNotFound, BlobStoreUnavailable, Digest
from ledger import ArtifactRef, ArtifactStore, Ledger, Tenant
from ledger.errors import InvalidArtifact, InvalidArtifactPath, InvalidEvent, TenantMismatch
from ledger.store.blob_fences import BlobFences


def path(tenant: Tenant, name: str = "output.json", run: str = "run", step: str = "draft") -> str:
    return f"storage/{tenant.tenant_id}/{run}/{step}/{name}"


async def blob_files(ledger: Ledger, tenant: Tenant) -> set[Path]:
    """The files of this tenant's blobs; other tests write beside them."""
    [prefix] = [
        record.blob_prefix for record in await ledger.tenants.list() if record.tenant_id == tenant.tenant_id
    ]
    root = ledger.settings.home / "blobs"
    return {file for file in root.rglob("*") if prefix in file.parts and file.is_file()}


async def test_what_was_put_is_got_and_exists(tenant: Tenant) -> None:
    body = "# Überschrift\n".encode()
    ref = await tenant.artifacts.put(body, path(tenant), "text/markdown")
    assert ref.digest == hashlib.sha256(body).hexdigest()
    assert (ref.size_bytes, ref.content_type, ref.path) == (len(body), "text/markdown", path(tenant))
    assert await tenant.artifacts.get(ref) == body
    assert await tenant.artifacts.exists(ref) is True


async def test_put_appends_artifact_stored_to_the_run_and_step_of_its_path(tenant: Tenant) -> None:
    ref = await tenant.artifacts.put("{}", path(tenant, run="r 1", step="s 1"))
    [event] = await tenant.store.read()
    assert (event.event_type, event.run_id, event.step_id) == ("artifact.stored", "r 1", "s 1")
    assert event.payload is not None
    assert event.payload["name"] == "output.json"
    assert ArtifactRef.model_validate(event.payload["ref"]) == ref


async def test_no_body_travels_in_the_event(tenant: Tenant) -> None:
    await tenant.artifacts.put("secret-body-text", path(tenant))
    [event] = await tenant.store.read()
    assert event.data is not None
    assert b"secret-body-text" not in event.data


async def test_equal_bytes_under_two_paths_are_two_facts_and_one_blob(ledger: Ledger, tenant: Tenant) -> None:
    before = await blob_files(ledger, tenant)
    first = await tenant.artifacts.put(b"same", path(tenant, "a"))
    second = await tenant.artifacts.put(b"same", path(tenant, "b"))
    assert first.digest == second.digest
    assert await tenant.store.head() == 2
    assert len(await blob_files(ledger, tenant) - before) == 1


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_stream_of_unknown_length_is_stored_with_its_size(tenant: Tenant) -> None:
    ref = await tenant.artifacts.put(chunks(b"ab", b"", b"c" * 3_000_000), path(tenant), "text/plain")
    assert (ref.size_bytes, ref.digest) == (3_000_002, hashlib.sha256(b"ab" + b"c" * 3_000_000).hexdigest())
    assert await tenant.artifacts.get(ref) == b"ab" + b"c" * 3_000_000


async def test_a_stream_that_fails_records_nothing(tenant: Tenant) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("the producer broke")

    with pytest.raises(RuntimeError, match="the producer broke"):
        await tenant.artifacts.put(failing(), path(tenant))
    assert await tenant.store.head() == 0


async def test_a_file_is_stored_with_bounded_memory(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as made:
        made.truncate(96 << 20)
    tracemalloc.start()
    try:
        ref = await tenant.artifacts.put(file, path(tenant, "large.bin"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ref.size_bytes == 96 << 20
    assert peak < 16 << 20
    assert await tenant.artifacts.exists(ref)


async def test_a_file_that_is_not_there_is_refused_and_nothing_recorded(
    tenant: Tenant, tmp_path: Path
) -> None:
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(InvalidArtifact, match=r"cannot be read: (No such file|Is a directory)"):
            await tenant.artifacts.put(absent, path(tenant))
    assert await tenant.store.head() == 0


async def test_equal_values_are_one_blob_however_they_were_written(ledger: Ledger, tenant: Tenant) -> None:
    before = await blob_files(ledger, tenant)
    first = await tenant.artifacts.put({"a": 1, "b": [1.0, None]}, path(tenant, "a"))
    second = await tenant.artifacts.put({"b": (1, None), "a": 1.0}, path(tenant, "b"))
    assert first.digest == second.digest
    assert await tenant.artifacts.get(first) == b'{"a":1,"b":[1,null]}'
    assert len(await blob_files(ledger, tenant) - before) == 1


async def test_a_value_that_json_cannot_say_is_refused_before_the_blob(
    ledger: Ledger, tenant: Tenant
) -> None:
    before = await blob_files(ledger, tenant)
    for value in ({"a": float("nan")}, {"a": "\ud800"}, {1: 2}, [object()]):
        with pytest.raises(InvalidArtifact, match="cannot be written as JSON"):
            await tenant.artifacts.put(value, path(tenant))
    assert await blob_files(ledger, tenant) == before
    assert await tenant.store.head() == 0


HOSTILE_PATHS = [
    "",
    "storage",
    "storage/{t}/run/draft",
    "storage/{t}/run/draft/a/b",
    "storage/{t}/run/draft/",
    "storage/{t}//draft/output.json",
    "storage/{t}/../draft/output.json",
    "storage/{t}/run/../output.json",
    "storage/{t}/run/draft/..",
    "storage/{t}/run/draft/.",
    "storage/../{t}/run/draft",
    "/storage/{t}/run/draft/output.json",
    "other/{t}/run/draft/output.json",
    "Storage/{t}/run/draft/output.json",
    "storage/{t}/run/draft/a\\b",
    "storage/{t}/run/draft/a\x00b",
    "storage/{t}/run/draft/a\nb",
    "storage/{t}/run/draft/a\u202eb",
    "storage/{t}/run/draft/\ud800",
    "storage/{t}/$tenant/draft/output.json",
    "storage/{t}/run/ draft/output.json",
    "storage/{t}/run/draft/" + "x" * 300,
    "storage/" + "x" * 5_000,
    "C:\\storage\\{t}",
]


@pytest.mark.parametrize(
    "hostile", [*HOSTILE_PATHS, None, 7, b"storage/t/r/s/o"], ids=lambda path: ascii(path)[:40]
)
async def test_a_path_of_the_wrong_shape_is_refused_and_nothing_is_written(
    ledger: Ledger, tenant: Tenant, hostile: object
) -> None:
    before = await blob_files(ledger, tenant)
    given = hostile.format(t=tenant.tenant_id) if isinstance(hostile, str) else hostile
    with pytest.raises(InvalidArtifactPath, match=r"Expected storage/.*Retrying will not help") as refusal:
        await tenant.artifacts.put(b"x", given)  # type: ignore[arg-type]
    assert len(str(refusal.value)) < 500
    assert await blob_files(ledger, tenant) == before
    assert await tenant.store.head() == 0


async def test_a_path_of_another_tenant_is_refused_for_put_get_and_exists(
    ledger: Ledger, tenant: Tenant
) -> None:
    other_id = f"{tenant.tenant_id}-2"
    await ledger.tenants.create_tenant_db(other_id, "Other")
    other = await ledger.tenant(other_id)
    theirs = await other.artifacts.put(b"theirs", path(other))
    before = await blob_files(ledger, tenant)

    with pytest.raises(TenantMismatch, match=r"Nothing|nothing was read or written"):
        await tenant.artifacts.put(b"x", path(other))
    with pytest.raises(TenantMismatch):
        await tenant.artifacts.get(theirs)
    with pytest.raises(TenantMismatch):
        await tenant.artifacts.exists(theirs)

    assert await blob_files(ledger, tenant) == before
    assert await tenant.store.head() == 0
    # A forged reference of one's own finds nothing either: blobs lie under the tenant's own prefix.
    forged = theirs.model_copy(update={"path": path(tenant)})
    assert await tenant.artifacts.exists(forged) is False
    with pytest.raises(BlobNotFound):
        await tenant.artifacts.get(forged)


async def test_text_without_utf_8_and_a_broken_content_type_are_refused_before_the_blob(
    ledger: Ledger, tenant: Tenant
) -> None:
    before = await blob_files(ledger, tenant)
    with pytest.raises(InvalidEvent, match="lone surrogates"):
        await tenant.artifacts.put("\ud800", path(tenant))
    for content_type in ("", "x" * 256, "text/html\r\nX: y"):
        with pytest.raises(InvalidEvent, match="content_type"):
            await tenant.artifacts.put(b"x", path(tenant), content_type)
    assert await blob_files(ledger, tenant) == before
    assert await tenant.store.head() == 0


def fences(tenant: Tenant) -> BlobFences:
    return BlobFences(tenant.database, tenant.reader)


class Broken:
    """A fault: a blob store in which nothing becomes durable."""

    async def put(self, content: bytes) -> Digest:
        raise BlobStoreUnavailable("the disk is full")


class Watched:
    """Asks, when the bytes have become durable, whether the event was there already."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.head_after_put: int | None = None

    async def put(self, content: bytes) -> Digest:
        digest = await self.tenant.blobs.put(content)
        await asyncio.sleep(0.05)
        self.head_after_put = await self.tenant.store.head()
        return digest


async def test_without_a_durable_blob_there_is_no_event(tenant: Tenant) -> None:
    artifacts = ArtifactStore(tenant.tenant_id, Broken(), tenant.emitter, fences(tenant))  # type: ignore[arg-type]
    with pytest.raises(BlobStoreUnavailable, match="disk is full"):
        await artifacts.put(b"x", path(tenant))
    assert await tenant.store.head() == 0


async def test_the_blob_is_durable_before_the_event(tenant: Tenant) -> None:
    blobs = Watched(tenant)
    store = ArtifactStore(tenant.tenant_id, blobs, tenant.emitter, fences(tenant))  # type: ignore[arg-type]
    await store.put(b"x", path(tenant))
    assert blobs.head_after_put == 0
    assert await tenant.store.head() == 1


async def test_a_corrupt_file_is_never_given_out(ledger: Ledger, tenant: Tenant) -> None:
    before = await blob_files(ledger, tenant)
    ref = await tenant.artifacts.put(b"the truth", path(tenant))
    [file] = [file for file in await blob_files(ledger, tenant) - before if file.read_bytes() == b"the truth"]
    file.chmod(0o644)
    file.write_bytes(b"a lie!!!!")
    with pytest.raises(BlobCorrupt):
        await tenant.artifacts.get(ref)
    assert await tenant.artifacts.exists(ref) is False
    file.unlink()
    with pytest.raises(BlobNotFound):
        await tenant.artifacts.get(ref)
    assert await tenant.artifacts.exists(ref) is False


async def test_a_reference_with_another_digest_finds_nothing(tenant: Tenant) -> None:
    ref = await tenant.artifacts.put(b"x", path(tenant))
    assert await tenant.artifacts.exists(ref.model_copy(update={"digest": "0" * 64})) is False
