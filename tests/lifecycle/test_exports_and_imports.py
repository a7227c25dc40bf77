"""An archive holds everything of a tenant, and what is made of it is equal to the last byte."""

import asyncio
import gzip
import tarfile
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from blobstore import BlobNotFound
from ledger import ArtifactRef, Ledger, Tenant
from ledger.errors import (
    ArchiveExists,
    TenantConflict,
    TenantCopyDiffers,
    TenantMismatch,
    TenantNotFound,
)
from ledger.lifecycle import delete_tenant, export_tenant, import_tenant, importing
from ledger.lifecycle.archive.reader import ArchiveReader
from ledger.lifecycle.archive.writer import ArchiveWriter
from projections import verify
from projections.audit import AuditQueries
from tests.lifecycle.conftest import SECRET, Killed, acts, fact, killed_at, log_rows, new_id

Change = Callable[[bytes], bytes]


async def refs_of(tenant: Tenant) -> dict[str, ArtifactRef]:
    return (await AuditQueries(tenant).state_at("run-1"))["step_outputs"]


async def test_a_tenant_imported_from_its_archive_is_the_same_under_another_id(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    report = await export_tenant(ledger, filled.tenant_id, archive, by="ann", reason="to see")
    assert report.position == await filled.store.head()
    assert report.blobs == 2
    new = new_id()

    imported = await import_tenant(ledger, archive, new, name="Acme again", by="bob")

    assert (imported.position, imported.blobs, imported.tables_compared) == (report.position, 2, True)
    tenant = await ledger.tenant(new)
    assert await log_rows(tenant.database) == await log_rows(filled.database)
    assert (await verify(tenant)).ok
    theirs, ours = await refs_of(filled), await refs_of(tenant)
    assert theirs == ours
    for ref in ours.values():
        assert await tenant.artifacts.get(ref) == await filled.artifacts.get(ref)
    assert (await tenant.prompts.load("pack")).prompts == {"draft": "Write about {topic}."}
    assert tenant.database.name != filled.database.name
    assert await acts(ledger, filled.tenant_id) == ["tenant.placed", "tenant.created", "tenant.exported"]
    assert await acts(ledger, new) == ["tenant.placed", "tenant.imported"]


async def test_what_was_imported_works_on_and_can_be_exported_again(
    ledger: Ledger, filled: Tenant, archive: Path, tmp_path: Path
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    second, third = new_id(), new_id()
    await import_tenant(ledger, archive, second)
    tenant = await ledger.tenant(second)
    async with tenant.run("run-2", prompt_pack="pack") as run, run.step("outline") as step:
        await step.get((await refs_of(tenant))["outline"])
        await step.put("new", "new.txt")

    await export_tenant(ledger, second, tmp_path / "second.tar")
    await import_tenant(ledger, tmp_path / "second.tar", third)

    last = await ledger.tenant(third)
    assert await log_rows(last.database) == await log_rows(tenant.database)
    for ref in (await refs_of(last)).values():  # they name the first id still
        assert await last.artifacts.exists(ref)


async def test_a_former_id_opens_nothing_of_the_tenant_that_has_it(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    new = new_id()
    await import_tenant(ledger, archive, new)
    ref = await filled.artifacts.put("only there", f"storage/{filled.tenant_id}/run-1/draft/late.txt", None)

    tenant = await ledger.tenant(new)
    with pytest.raises(BlobNotFound):  # the path is accepted, and looked for among the tenant's own bodies
        await tenant.artifacts.get(ref)
    with pytest.raises(TenantMismatch):
        await tenant.artifacts.put("x", f"storage/{filled.tenant_id}/run-1/draft/x.txt", None)
    with pytest.raises(TenantMismatch):
        await filled.artifacts.get(ref.model_copy(update={"path": f"storage/{new}/run-1/draft/late.txt"}))


async def test_what_was_erased_is_in_no_archive(ledger: Ledger, filled: Tenant, archive: Path) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    found = b""
    with tarfile.open(archive) as tar:
        for info in tar:
            content = tar.extractfile(info).read()  # type: ignore[union-attr]
            found += gzip.decompress(content) if info.name.endswith(".gz") else content
    assert b'"payload":null' in found
    assert SECRET.encode() not in found


async def test_an_export_takes_what_was_recorded_before_it_while_writers_go_on(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    head = await filled.store.head()

    async def disturb() -> None:
        await filled.emitter.emit(fact(filled))

    def progress(_doing: str, _done: int, _all: int) -> None:
        tasks.append(asyncio.ensure_future(disturb()))

    tasks: list[asyncio.Future[None]] = []
    report = await export_tenant(ledger, filled.tenant_id, archive, progress=progress)
    await asyncio.gather(*tasks)
    assert report.position >= head
    with ArchiveReader.open(archive) as reader:
        assert reader.manifest.head_position == report.position


async def test_a_suspended_tenant_can_be_exported(ledger: Ledger, filled: Tenant, archive: Path) -> None:
    await ledger.tenants.suspend(filled.tenant_id)
    assert (await export_tenant(ledger, filled.tenant_id, archive)).blobs == 2


async def test_an_export_without_a_body_is_none(ledger: Ledger, filled: Tenant, archive: Path) -> None:
    ref = (await refs_of(filled))["outline"]
    await filled.blobs.delete(ref.digest)  # type: ignore[arg-type]
    with pytest.raises(TenantCopyDiffers, match=ref.digest):
        await export_tenant(ledger, filled.tenant_id, archive)
    assert not archive.exists()


async def test_an_archive_that_is_there_stays(ledger: Ledger, filled: Tenant, archive: Path) -> None:
    archive.write_text("precious")
    with pytest.raises(ArchiveExists):
        await export_tenant(ledger, filled.tenant_id, archive)
    assert archive.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("provision", False),
        ("provision", True),
        ("_put_blobs", True),
        ("write_events", True),
        ("_write_log", True),
        ("_compare_tables", True),
        ("finish_import", False),
    ],
)
async def test_an_import_that_was_killed_is_finished_by_asking_again(
    ledger: Ledger,
    filled: Tenant,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: bool,
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    new = new_id()
    revive = killed_at(monkeypatch, importing, name, after=after)
    with pytest.raises(Killed):
        await import_tenant(ledger, archive, new)
    with pytest.raises(TenantNotFound, match="not finished"):
        await ledger.tenant(new)
    revive()

    await import_tenant(ledger, archive, new)

    assert await log_rows((await ledger.tenant(new)).database) == await log_rows(filled.database)
    assert await acts(ledger, new) == ["tenant.placed", "tenant.imported"]


async def test_an_id_is_given_once(
    ledger: Ledger, filled: Tenant, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    with pytest.raises(TenantConflict, match="is there already"):
        await import_tenant(ledger, archive, filled.tenant_id)

    new = new_id()
    revive = killed_at(monkeypatch, importing, "_write_log")
    with pytest.raises(Killed):
        await import_tenant(ledger, archive, new)
    revive()
    await filled.emitter.emit(fact(filled))
    await export_tenant(ledger, filled.tenant_id, tmp_path / "other.tar")
    with pytest.raises(TenantConflict, match="another archive"):
        await import_tenant(ledger, tmp_path / "other.tar", new)
    await delete_tenant(ledger, new)
    with pytest.raises(TenantConflict, match="deleted"):
        await import_tenant(ledger, archive, new)


async def forged(archive: Path, to: Path, change: Change) -> Path:
    """An archive whose events were changed by somebody who put SHA256SUMS right."""
    with tarfile.open(archive) as tar, ArchiveWriter(to) as forgery:
        for info in tar:
            content = tar.extractfile(info).read()  # type: ignore[union-attr]
            if info.name.startswith("events/"):
                content = gzip.compress(change(gzip.decompress(content)))
            if info.name != "SHA256SUMS":
                forgery.add(info.name, content)
    return to


def without_first(lines: bytes) -> bytes:
    return lines.split(b"\n", 1)[1]


def with_another_payload(lines: bytes) -> bytes:
    events = lines.splitlines(keepends=True)
    number = next(n for n, line in enumerate(events) if b'"payload":"' in line)
    begin = events[number].index(b'"payload":"') + len(b'"payload":"')
    end = events[number].index(b'"', begin)
    events[number] = events[number][:begin] + b64encode(b'{"forged":1}') + events[number][end:]
    return b"".join(events)


@pytest.mark.parametrize("change", [without_first, with_another_payload])
async def test_a_forged_log_makes_no_tenant(
    ledger: Ledger, filled: Tenant, archive: Path, tmp_path: Path, change: Change
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    new = new_id()
    with pytest.raises(TenantCopyDiffers, match="not whole"):
        await import_tenant(ledger, await forged(archive, tmp_path / "forged.tar", change), new)
    with pytest.raises(TenantNotFound):
        await ledger.tenant(new)
    await delete_tenant(ledger, new)


async def test_the_log_of_an_import_has_no_other_digests_than_its_bodies(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    with ArchiveReader.open(archive) as reader:
        for digest, size in reader.blobs():
            body = b"".join(reader.blob(digest))
            assert (sha256(body).hexdigest(), len(body)) == (digest, size)


async def test_events_of_other_types_come_along(ledger: Ledger, filled: Tenant, archive: Path) -> None:
    class Counter(Aggregate):
        @event("Counted")
        def count(self) -> None:
            pass

    def work(env: dict[str, str]) -> None:
        application = Application[object](env=env)
        counter = Counter()
        for _ in range(3):
            counter.count()
        application.save(counter)
        application.close()

    await asyncio.to_thread(work, filled.application_env())
    await export_tenant(ledger, filled.tenant_id, archive)
    new = new_id()
    await import_tenant(ledger, archive, new)
    assert await log_rows((await ledger.tenant(new)).database) == await log_rows(filled.database)
