"""daicho blob gc and fsck."""

import json
import os
from pathlib import Path

from blobstore import digest_of
from ledger import Tenant
from tests.support.command_line import CommandLine


async def _old_garbage(tenant: Tenant) -> None:
    digest = await tenant.blobs.put(b"garbage")
    os.utime(tenant.blobs.path_of(digest), (0, 0))  # type: ignore[attr-defined]


async def test_garbage_is_counted_then_deleted_and_told(tenant: Tenant, daicho: CommandLine) -> None:
    await _old_garbage(tenant)
    await tenant.blobs.put(b"young")
    code, output = await daicho("blob", "gc", "--dry-run", "-t", tenant.tenant_id)
    assert (code, "Would delete 1 blob (7 bytes). Nothing was done." in output) == (0, True), output
    code, output = await daicho("blob", "gc", "--by", "ann", "-t", tenant.tenant_id)
    assert (code, "Deleted 1 blob (7 bytes), recorded in the log" in output) == (0, True), output
    code, output = await daicho("blob", "gc", "--json", "-t", tenant.tenant_id)
    report = json.loads(output)
    assert (code, report["listed"], report["young"], report["deleted"]) == (0, 1, 1, 0)
    [first, _] = await tenant.store.read()
    assert (first.event_type, first.actor) == ("blobs.collected", "ann")


async def test_a_grace_period_that_spares_nobody_is_refused(tenant: Tenant, daicho: CommandLine) -> None:
    code, output = await daicho("blob", "gc", "--grace", "0.5", "-t", tenant.tenant_id)
    assert (code, "0.5 is not in the range x>=2.0" in output) == (2, True), output


async def test_a_whole_store_is_good_and_says_how_fast_it_was_read(
    tenant: Tenant, daicho: CommandLine
) -> None:
    await tenant.artifacts.put(b"fine", f"storage/{tenant.tenant_id}/r/s/a")
    orphan = await tenant.blobs.put(b"orphan")
    code, output = await daicho("blob", "fsck", "--orphans", "-t", tenant.tenant_id)
    assert code == 0, output
    assert "1 blob that events up to position 1 refer to, 4 bytes hashed" in output
    assert "none bad" in output
    assert f"{orphan}  orphan" in output
    assert "Mentioned by no event: 1 blob (6 bytes)" in output


async def test_damage_is_exit_code_1_and_names_digest_and_runs(tenant: Tenant, daicho: CommandLine) -> None:
    ref = await tenant.artifacts.put(b"fine", f"storage/{tenant.tenant_id}/the-run/s/a")
    tenant.blobs.path_of(ref.digest).write_bytes(b"BAD!")  # type: ignore[attr-defined]
    assert (await daicho("blob", "fsck", "--quick", "-t", tenant.tenant_id))[0] == 0, (
        "existence and size are right"
    )
    code, output = await daicho("blob", "fsck", "-t", tenant.tenant_id)
    assert code == 1
    assert f"{ref.digest}  corrupt, found {digest_of(b'BAD!')}\n    needed by the-run\n" in output
    code, output = await daicho("blob", "fsck", "--json", "-t", tenant.tenant_id)
    report = json.loads(output)
    assert (code, report["ok"], report["bad"][0]["runs"]) == (1, False, ["the-run"])


async def test_a_file_that_is_no_progress_of_a_check_is_refused(
    tenant: Tenant, daicho: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    code, output = await daicho("blob", "fsck", "--resume", str(tmp_path / "file"), "-t", tenant.tenant_id)
    assert code == 2
    assert "It cannot be read as the progress of a check" in " ".join(output.split())
