"""`daicho tenant`: what is said, and the exit codes."""

import json
from pathlib import Path

from ledger import Ledger, Tenant
from tests.lifecycle.conftest import new_id
from tests.support.command_line import CommandLine


async def test_a_tenant_is_exported_imported_and_deleted(
    daicho: CommandLine, filled: Tenant, archive: Path
) -> None:
    ours, new = filled.tenant_id, new_id()
    assert (await daicho.in_one_line("tenant", "delete", ours))[0] == 2
    code, said = await daicho.in_one_line("tenant", "delete", ours, "--yes")
    assert (code, "was not exported as it is now" in said) == (2, True)

    code, said = await daicho.in_one_line(
        "tenant", "export", ours, str(archive), "--by", "ann", "--reason", "why"
    )
    assert (code, f"tenant {ours} up to position" in said) == (0, True)
    assert (await daicho.in_one_line("tenant", "export", ours, str(archive)))[0] == 2

    code, said = await daicho.in_one_line("tenant", "import", str(archive), "--as", new, "--json")
    assert (code, json.loads(said)["former_id"]) == (0, ours)
    code, said = await daicho.in_one_line("timeline", "run-1", "-t", new)
    assert (code, "run.succeeded" in said) == (0, True)

    code, said = await daicho.in_one_line("tenant", "delete", ours, "--yes")
    assert (code, said.endswith(f"Tenant {ours} is deleted, with 2 bodies")) == (0, True)
    assert (await daicho.in_one_line("tenant", "delete", ours, "--yes"))[
        1
    ] == f"Tenant {ours} was deleted already"
    assert (await daicho.in_one_line("timeline", "run-1", "-t", ours))[0] == 2


async def test_a_suspended_tenant_is_read_and_not_written(daicho: CommandLine, filled: Tenant) -> None:
    ours = filled.tenant_id
    assert (await daicho.in_one_line("tenant", "suspend", ours, "--reason", "unpaid"))[0] == 0
    assert (await daicho.in_one_line("timeline", "run-1", "-t", ours))[0] == 0
    code, said = await daicho.in_one_line("erase", "2", "-t", ours, "--by", "a", "--reason", "b", "--yes")
    assert (code, "is suspended" in said) == (2, True)
    assert (await daicho.in_one_line("tenant", "resume", ours))[0] == 0


async def test_a_move_names_where_to(daicho: CommandLine, tenant: Tenant) -> None:
    assert (await daicho.in_one_line("tenant", "move", tenant.tenant_id))[0] == 2
    assert (await daicho.in_one_line("tenant", "move", tenant.tenant_id, "--to", "nowhere"))[0] == 2
    code, said = await daicho.in_one_line("tenant", "move", tenant.tenant_id, "--to", "control")
    assert (code, "already" in said) == (0, True)
    assert (await daicho.in_one_line("tenant", "move", tenant.tenant_id, "--cancel"))[0] == 2


async def test_a_file_that_is_no_archive_is_refused(
    daicho: CommandLine, ledger: Ledger, archive: Path
) -> None:
    archive.write_text("a letter")
    code, said = await daicho.in_one_line("tenant", "import", str(archive), "--as", new_id())
    assert (code, "cannot be read as an archive" in said) == (2, True)


async def test_a_tenant_is_renamed(daicho: CommandLine, tenant: Tenant) -> None:
    code, said = await daicho.in_one_line("tenant", "rename", tenant.tenant_id, "Nova")
    assert (code, said) == (0, f"Tenant {tenant.tenant_id} is called Nova")
