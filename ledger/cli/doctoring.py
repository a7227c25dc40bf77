"""`daicho doctor`: says what is not in order, and what to do. It only looks."""

import click
from rich.text import Text

from ledger.cli.running import (
    CHECK_FAILED,
    json_option,
    load_settings,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.control.catalogue import Catalogue
from ledger.control.guards import Finding
from ledger.control.migrations import control_revision, require_head
from ledger.control.server import open_server
from ledger.errors import MigrationNeeded
from ledger.inspection import inspect_installation
from ledger.store.server import DatabaseServer


@click.command()
@tenant_option
@json_option
@runs_async
async def doctor(tenant_id: str | None, as_json: bool) -> int:
    """Check the installation: servers, blob store, disk, clocks, and every tenant's guards (or those of -t).

    Triggers, grants, owners, functions, constraints, settings and clocks are compared with what this
    version made. Nothing is changed: a guard that was down may have let something through, and that is to
    be found out before it is armed again. Exit code 1 where anything is wrong.
    """
    settings = load_settings()
    async with open_server(settings) as server:
        await _require_control(server)
        async with Catalogue.open(server) as catalogue:
            tenants = [await catalogue.get(tenant_id)] if tenant_id else await catalogue.list()
            looking = inspect_installation(settings, server, catalogue, tenants)
            findings = [finding async for finding in looking]
    if as_json:
        print_json(
            {
                "ok": not findings,
                "server": server.name,
                "tenants": [tenant.tenant_id for tenant in tenants],
                "findings": [finding.to_dict() for finding in findings],
            }
        )
    else:
        _show(findings, len(tenants), server.name)
    return CHECK_FAILED if findings else 0


async def _require_control(server: DatabaseServer) -> None:
    found = await control_revision(server)
    if found is None:
        problem = "The control database is empty: there is no tenant to look at"
        raise MigrationNeeded(problem, fix="Run `daicho init`")
    require_head(found, "control", "The control database")


def _show(findings: list[Finding], tenants: int, server: str) -> None:
    for finding in findings:
        whose = finding.tenant_id or "server"
        out.print(Text.assemble((whose, "bold"), "  ", (finding.guard, "red"), f": {finding.problem}"))
        out.print(Text(f"    {finding.fix}", style="dim"), soft_wrap=True)
    looked = f"{server} and {tenants} tenant{'' if tenants == 1 else 's'} looked at"
    if not findings:
        out.print(f"{looked}: every guard is up", markup=False)
        return
    out.print(f"{looked}: {len(findings)} found. Nothing was changed.", markup=False)
    out.print("Find out who took a guard down, since when, and what went through, before it is armed again.")
