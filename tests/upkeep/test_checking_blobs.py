"""Checking blobs: what is missing, corrupt or of another size is named with the runs that need it."""

import json
from pathlib import Path
from typing import Any

import pytest

from blobstore import BlobStoreUnavailable, Digest, digest_of
from blobstore.keys import blob_key
from ledger import ArtifactRef, Event, Tenant
from ledger.errors import CheckNotResumable
from ledger.upkeep.checking import check_blobs
from ledger.upkeep.reports import CheckReport


def path(tenant: Tenant, name: str, run: str = "run") -> str:
    return f"storage/{tenant.tenant_id}/{run}/step/{name}"


async def put(tenant: Tenant, *bodies: bytes, run: str = "run") -> list[ArtifactRef]:
    return [
        await tenant.artifacts.put(body, path(tenant, f"{number}.bin", run))
        for number, body in enumerate(bodies)
    ]


def overwrite(tenant: Tenant, digest: str, content: bytes) -> None:
    """As a bad disk would."""
    blobs: Any = tenant.blobs
    if hasattr(blobs, "path_of"):
        blobs.path_of(digest).write_bytes(content)
        return
    connection = blobs._connection
    from io import BytesIO

    connection.client.put_object(
        connection.bucket, blob_key(blobs._prefix, Digest(digest)), BytesIO(content), len(content)
    )


async def test_a_store_that_has_everything_is_fine(kept: Tenant) -> None:
    await put(kept, b"one", b"two", b"three")
    orphan = await kept.blobs.put(b"orphan")
    for quick in (True, False):
        report = await check_blobs(kept, quick=quick)
        assert report.ok
        assert (report.position, report.referenced, report.checked, report.listed) == (3, 3, 3, 4)
        assert (report.hashed, report.hashed_bytes) == ((0, 0) if quick else (3, 11))
        assert (report.orphans, report.orphan_bytes) == ([orphan], 6)


async def test_each_kind_of_damage_is_named_with_the_runs_that_need_it(kept: Tenant) -> None:
    missing, corrupt, shorter, _ = await put(kept, b"missing", b"corrupt", b"shorter", b"fine")
    await put(kept, b"missing", run="another")
    await kept.blobs.delete(Digest(missing.digest))
    overwrite(kept, corrupt.digest, b"CORRUPT")
    overwrite(kept, shorter.digest, b"short")
    report = await check_blobs(kept)
    assert not report.ok
    assert report.bad_count == 3
    assert {bad.digest: (bad.problem, bad.found, bad.runs) for bad in report.bad} == {
        missing.digest: ("missing", "nothing", ["another", "run"]),
        corrupt.digest: ("corrupt", digest_of(b"CORRUPT"), ["run"]),
        shorter.digest: ("corrupt", digest_of(b"short"), ["run"]),
    }
    quick = await check_blobs(kept, quick=True)
    assert {bad.digest: bad.problem for bad in quick.bad} == {
        missing.digest: "missing", shorter.digest: "wrong_size",
    }  # fmt: skip


async def test_an_event_that_gives_a_wrong_size_is_named(tenant: Tenant) -> None:
    [ref] = await put(tenant, b"four")
    liar = ref.model_copy(update={"size_bytes": 5})
    started = Event(
        event_type="step.started", run_id="r", step_id="s", tenant_id=tenant.tenant_id,
        payload={"inputs": [liar]},
    )  # fmt: skip
    await tenant.emitter.emit(started)
    [bad] = (await check_blobs(tenant)).bad
    assert (bad.problem, bad.found) == ("wrong_size", "4 bytes, where events say 4 and 5")
    assert (bad.runs, bad.positions) == (["r", "run"], [1, 2])


async def test_what_is_only_mentioned_or_erased_need_not_be_there_and_is_no_orphan(tenant: Tenant) -> None:
    mentioned = await tenant.blobs.put(b"mentioned")
    absent = digest_of(b"never stored")
    reason = {"reason": f"{mentioned} {absent}"}
    await tenant.emitter.emit(
        Event(event_type="run.cancelled", run_id="r", tenant_id=tenant.tenant_id, payload=reason)
    )
    [ref] = await put(tenant, b"erased")
    await tenant.erase_payload(2, by="ann", reason="asked for")
    report = await check_blobs(tenant)
    assert report.ok
    assert (report.referenced, report.orphans) == (0, [ref.digest])


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


async def test_a_check_that_was_stopped_anywhere_goes_on_and_says_the_same(
    tenant: Tenant, tmp_path: Path
) -> None:
    refs = await put(tenant, *(f"body {number}".encode() for number in range(12)))
    overwrite(tenant, refs[3].digest, b"bad")
    await tenant.blobs.delete(Digest(refs[7].digest))
    await tenant.blobs.put(b"orphan")
    whole = await check_blobs(tenant)
    assert whole.bad_count == 2
    file = tmp_path / "progress"
    for stop_after in (1, 5, 12):

        def stop(report: CheckReport, at: int = stop_after) -> None:
            if report.checked == at:
                raise Stopped

        with pytest.raises(Stopped):
            await check_blobs(tenant, resume=file, progress=stop)
        saved = json.loads(file.read_text())
        assert saved["report"]["checked"] == stop_after
        resumed = await check_blobs(tenant, resume=file)
        assert resumed.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})
        assert not file.exists(), "a check that has come to its end leaves nothing behind"


async def test_a_store_that_goes_away_ends_it_and_the_file_is_kept(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = sorted(ref.digest for ref in await put(tenant, b"1", b"2", b"3"))
    verify = type(tenant.blobs).verify

    async def failing(self: Any, digest: Digest) -> int:
        if digest == refs[-1]:
            raise BlobStoreUnavailable("the server is down")
        return await verify(self, digest)

    monkeypatch.setattr(type(tenant.blobs), "verify", failing)
    with pytest.raises(BlobStoreUnavailable):
        await check_blobs(tenant, resume=tmp_path / "progress", parallel=1)
    monkeypatch.undo()
    assert json.loads((tmp_path / "progress").read_text())["cursor"] == refs[-2]
    assert (await check_blobs(tenant, resume=tmp_path / "progress")).ok


async def test_a_file_of_another_check_is_refused(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "progress"
    await put(tenant, b"1")

    def stop(_report: CheckReport) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await check_blobs(tenant, resume=file, progress=stop)
    with pytest.raises(CheckNotResumable, match="quick False, not True"):
        await check_blobs(tenant, resume=file, quick=True)
    file.write_text("not json")
    with pytest.raises(CheckNotResumable, match="cannot be read"):
        await check_blobs(tenant, resume=file)
    with pytest.raises(CheckNotResumable, match="cannot be written to"):
        await check_blobs(tenant, resume=tmp_path / "absent" / "file")
