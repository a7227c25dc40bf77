"""daicho blob gc and fsck."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from blobstore import digest_of
from ledger import Settings, Tenant
from ledger.cli import main


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    return CliRunner()


async def _invoke(runner: CliRunner, tenant: Tenant, *words: str) -> tuple[int, str]:
    command = ["blob", *words, "-t", tenant.tenant_id]
    done = await asyncio.to_thread(runner.invoke, main, command, catch_exceptions=False)
    return done.exit_code, done.output


async def _old_garbage(tenant: Tenant) -> None:
    digest = await tenant.blobs.put(b"garbage")
    os.utime(tenant.blobs.path_of(digest), (0, 0))  # type: ignore[attr-defined]


async def test_garbage_is_counted_then_deleted_and_told(tenant: Tenant, daicho: CliRunner) -> None:
    await _old_garbage(tenant)
    await tenant.blobs.put(b"young")
    code, output = await _invoke(daicho, tenant, "gc", "--dry-run")
    assert (code, "Would delete 1 blob (7 bytes). Nothing was done." in output) == (0, True), output
    code, output = await _invoke(daicho, tenant, "gc", "--by", "ann")
    assert (code, "Deleted 1 blob (7 bytes), recorded in the log" in output) == (0, True), output
    code, output = await _invoke(daicho, tenant, "gc", "--json")
    report = json.loads(output)
    assert (code, report["listed"], report["young"], report["deleted"]) == (0, 1, 1, 0)
    [first, _] = await tenant.store.read()
    assert (first.event_type, first.actor) == ("blobs.collected", "ann")


async def test_a_grace_period_that_spares_nobody_is_refused(tenant: Tenant, daicho: CliRunner) -> None:
    code, output = await _invoke(daicho, tenant, "gc", "--grace", "0.5")
    assert (code, "0.5 is not in the range x>=2.0" in output) == (2, True), output


async def test_a_whole_store_is_good_and_says_how_fast_it_was_read(tenant: Tenant, daicho: CliRunner) -> None:
    await tenant.artifacts.put(b"fine", f"storage/{tenant.tenant_id}/r/s/a")
    orphan = await tenant.blobs.put(b"orphan")
    code, output = await _invoke(daicho, tenant, "fsck", "--orphans")
    assert code == 0, output
    assert "1 blob that events up to position 1 refer to, 4 bytes hashed" in output
    assert "none bad" in output
    assert f"{orphan}  orphan" in output
    assert "Mentioned by no event: 1 blob (6 bytes)" in output


async def test_damage_is_exit_code_1_and_names_digest_and_runs(tenant: Tenant, daicho: CliRunner) -> None:
    ref = await tenant.artifacts.put(b"fine", f"storage/{tenant.tenant_id}/the-run/s/a")
    tenant.blobs.path_of(ref.digest).write_bytes(b"BAD!")  # type: ignore[attr-defined]
    assert (await _invoke(daicho, tenant, "fsck", "--quick"))[0] == 0, "existence and size are right"
    code, output = await _invoke(daicho, tenant, "fsck")
    assert code == 1
    assert f"{ref.digest}  corrupt, found {digest_of(b'BAD!')}\n    needed by the-run\n" in output
    code, output = await _invoke(daicho, tenant, "fsck", "--json")
    report = json.loads(output)
    assert (code, report["ok"], report["bad"][0]["runs"]) == (1, False, ["the-run"])


async def test_a_file_that_is_no_progress_of_a_check_is_refused(
    tenant: Tenant, daicho: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    code, output = await _invoke(daicho, tenant, "fsck", "--resume", str(tmp_path / "file"))
    assert code == 2
    assert "It cannot be read as the progress of a check" in " ".join(output.split())
