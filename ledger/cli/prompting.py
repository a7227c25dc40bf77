"""`daicho prompts`: a tenant's prompt packs, from folders of Markdown files and back."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from ledger.cli import render
from ledger.cli.running import json_option, open_tenant, out, print_json, runs_async, tenant_option
from ledger.control.audit import this_actor
from ledger.errors import InvalidName, PromptPackConflict, PromptPackUnchanged
from ledger.prompts import PromptPack
from ledger.prompts.diff import changes_between
from ledger.prompts.files import PromptTexts, read_prompt_folder
from ledger.prompts.loading import check_pack_id
from ledger.prompts.packing import PromptPacks

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

by_option = click.option(
    "--by",
    metavar="WHO",
    default=this_actor,
    show_default="this account@machine",
    help="Who decides; recorded.",
)
folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def prompts() -> None:
    """Prompt packs: what runs are started with, in versions that never change."""


@prompts.command("publish")
@folder_argument
@click.option("--id", "pack_id", metavar="PACK_ID", help="The pack. [default: the folder's name]")
@tenant_option
@by_option
@click.option("--reason", metavar="WHY", help="Why; recorded.")
@click.option(
    "--expected-version",
    type=click.IntRange(0),
    metavar="N",
    help="Only where N is the newest version; 0: only where the id was never published.",
)
@json_option
@runs_async
async def publish(
    folder: Path,
    pack_id: str | None,
    tenant_id: str | None,
    by: str,
    reason: str | None,
    expected_version: int | None,
    as_json: bool,
) -> None:
    """Publish the .md files of DIR, one per prompt, as the newest version of a pack.

    The first time, that is version 1 of a new pack; later, the next version, all of it and not only what
    changed. Where nothing changed, nothing is recorded. Each file begins with front matter:

    \b
    ---
    name: outline
    description: Sections and the points they make.
    variables: [title, keywords]
    ---
    Write an outline for an article titled "$title". Use these keywords: $keywords.
    """
    pack_id = pack_id or _name_of(folder)
    texts = read_prompt_folder(folder)
    async with open_tenant(tenant_id, projection="external") as tenant:
        try:
            pack = await _publish(tenant.prompts, pack_id, texts, by, reason, expected_version)
            changed = True
        except PromptPackUnchanged:
            pack, changed = await tenant.prompts.load(pack_id), False
    if as_json:
        print_json({**pack.identity(), "changed": changed})
        return
    named = f"{len(pack.prompts)} prompt{'' if len(pack.prompts) == 1 else 's'}"
    unchanged = "" if changed else ", unchanged: nothing was recorded"
    say(f"{pack.pack_id} version {pack.version}: {named}, digest {pack.digest}{unchanged}")


@prompts.command("retire")
@click.argument("pack_id", metavar="PACK_ID")
@tenant_option
@by_option
@click.option("--reason", required=True, metavar="WHY", help="Why; recorded.")
@runs_async
async def retire(pack_id: str, tenant_id: str | None, by: str, reason: str) -> None:
    """Let no more run start with PACK_ID, for good. Those that run go on."""
    async with open_tenant(tenant_id, projection="external") as tenant:
        await tenant.prompts.retire(pack_id, reason=reason, by=by)
    say(f"{pack_id} is retired")


@prompts.command("list")
@tenant_option
@json_option
@runs_async
async def list_packs(tenant_id: str | None, as_json: bool) -> None:
    """List the tenant's packs, retired ones too."""
    async with open_tenant(tenant_id, projection="external") as tenant:
        packs = await tenant.prompts.list()
    if as_json:
        print_json(list(packs))
        return
    if not packs:
        out.print("No prompt packs yet; mock_pack is built in.")
        return
    made = render.table("pack", "#version", "status", "digest", "changed", "by")
    for pack in packs:
        status = "retired" if pack.is_retired else "active"
        digest, changed = (pack.digest or "erased")[:12], render.local_time(pack.changed_at)
        made.add_row(
            Text(pack.pack_id),
            str(pack.version),
            status,
            digest,
            changed,
            Text(pack.changed_by or ""),
        )
    out.print(made)


@prompts.command("show")
@click.argument("pack_id", metavar="PACK_ID")
@tenant_option
@click.option("--version", type=int, help="This version, also of a retired pack.")
@json_option
@runs_async
async def show(pack_id: str, tenant_id: str | None, version: int | None, as_json: bool) -> None:
    """Show the prompts of PACK_ID, the newest version or --version."""
    async with open_tenant(tenant_id, projection="external") as tenant:
        pack = await tenant.prompts.load(pack_id, version)
    if as_json:
        print_json(_pack_json(pack))
        return
    say(f"{pack.pack_id} version {pack.version}, digest {pack.digest}")
    for name, template in pack.prompts.items():
        out.print(f"\n## {name}", style="bold", markup=False)
        if name in pack.descriptions:
            say(_printable(pack.descriptions[name]))
        say(f"variables: {', '.join(pack.variables(name)) or 'none'}\n")
        click.echo(_printable(template))


@prompts.command("diff")
@click.argument("pack_id", metavar="PACK_ID")
@click.argument("old", type=int)
@click.argument("new", type=int)
@tenant_option
@json_option
@runs_async
async def diff(pack_id: str, old: int, new: int, tenant_id: str | None, as_json: bool) -> None:
    """Show what changed from version OLD of PACK_ID to version NEW, as a unified diff."""
    async with open_tenant(tenant_id, projection="external") as tenant:
        before, after = await tenant.prompts.load(pack_id, old), await tenant.prompts.load(pack_id, new)
    changes = changes_between(before, after)
    if as_json:
        print_json({"pack_id": pack_id, "old": old, "new": new, "changes": changes})
        return
    if not changes:
        say(f"Version {old} and version {new} of {pack_id} are alike.")
    for change in changes:
        for line in change.diff:
            out.print(_printable(line), style=_diff_style(line), markup=False, soft_wrap=True)


def _name_of(folder: Path) -> str:
    """The folder's name, where that can be a pack's. Raises InvalidName."""
    name = folder.resolve().name
    try:
        check_pack_id(name)
    except InvalidName as error:
        error.fix = "Name the pack with --id"
        raise
    return name


def say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)


async def _publish(
    packs: PromptPacks,
    pack_id: str,
    texts: PromptTexts,
    by: str,
    reason: str | None,
    expected_version: int | None,
) -> PromptPack:
    """Version 1 of a new pack, or the next one: recording decides which, not a look beforehand."""
    prompts, descriptions = texts.prompts, texts.descriptions
    if not expected_version:
        try:
            return await packs.publish(pack_id, prompts, descriptions=descriptions, by=by, reason=reason)
        except PromptPackConflict:
            if expected_version == 0:
                raise
    return await packs.revise(
        pack_id,
        prompts,
        descriptions=descriptions,
        by=by,
        reason=reason,
        expected_version=expected_version,
    )


def _pack_json(pack: PromptPack) -> dict[str, Any]:
    return {
        **pack.identity(),
        "prompts": dict(pack.prompts),
        "descriptions": dict(pack.descriptions),
        "variables": {name: list(pack.variables(name)) for name in pack.prompts},
    }


def _printable(text: str) -> str:
    """A prompt is free text, which must not steer the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else UNPRINTABLE for char in text)


def _diff_style(line: str) -> str | None:
    if line.startswith(("+++", "---")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
