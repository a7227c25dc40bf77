"""`daicho prompts`: a tenant's prompt packs, from folders of Markdown files and back."""

from pathlib import Path

import click
from rich.text import Text

from ledger.cli import render
from ledger.cli.running import json_option, open_tenant, out, print_json, runs_async, tenant_option
from ledger.errors import InvalidPromptPack
from ledger.prompts import PromptPack

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
PROMPT_FILE_BYTES_MAX = 64 * 1024  # more than an event holds

by_option = click.option("--by", metavar="WHO", help="Who decides; recorded.")
folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def prompts() -> None:
    """Prompt packs: what runs are started with, in versions that never change."""


@prompts.command("publish")
@click.argument("pack_id", metavar="PACK_ID")
@folder_argument
@tenant_option
@by_option
@runs_async
async def publish(pack_id: str, folder: Path, tenant_id: str | None, by: str | None) -> None:
    """Publish the .md files of DIR, one per prompt, as version 1 of PACK_ID."""
    read = _prompts_of(folder)
    async with open_tenant(tenant_id, projection="external") as tenant:
        _tell(await tenant.prompts.publish(pack_id, read, by=by))


@prompts.command("revise")
@click.argument("pack_id", metavar="PACK_ID")
@folder_argument
@tenant_option
@by_option
@click.option("--expected-version", type=int, help="Only where this is the newest version.")
@runs_async
async def revise(
    pack_id: str, folder: Path, tenant_id: str | None, by: str | None, expected_version: int | None
) -> None:
    """Make the .md files of DIR the next version of PACK_ID: all of it, not only what changed."""
    read = _prompts_of(folder)
    async with open_tenant(tenant_id, projection="external") as tenant:
        _tell(await tenant.prompts.revise(pack_id, read, by=by, expected_version=expected_version))


@prompts.command("retire")
@click.argument("pack_id", metavar="PACK_ID")
@tenant_option
@by_option
@click.option("--reason", required=True, metavar="WHY", help="Why; recorded.")
@runs_async
async def retire(pack_id: str, tenant_id: str | None, by: str | None, reason: str) -> None:
    """Let no more run start with PACK_ID, for good. Those that run go on."""
    async with open_tenant(tenant_id, projection="external") as tenant:
        await tenant.prompts.retire(pack_id, reason=reason, by=by)
    out.print(f"{pack_id} is retired", markup=False)


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
        print_json({**pack.identity(), "prompts": dict(pack.prompts)})
        return
    out.print(f"{pack.pack_id} version {pack.version}, digest {pack.digest}", markup=False)
    for name, template in pack.prompts.items():
        out.print(f"\n## {name}", style="bold", markup=False)
        # A prompt is free text, which must not steer the terminal.
        click.echo(
            "".join(char if char.isprintable() or char in "\n\t" else UNPRINTABLE for char in template)
        )


def _tell(pack: PromptPack) -> None:
    count = len(pack.prompts)
    named = f"{count} prompt{'' if count == 1 else 's'}"
    out.print(f"{pack.pack_id} version {pack.version}: {named}, digest {pack.digest}", markup=False)


def _prompts_of(folder: Path) -> dict[str, str]:
    """The folder's .md files by name. Raises InvalidPromptPack before anything is opened."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".md")
        read = {path.stem: _text_of(path) for path in paths}
    except OSError as error:
        raise InvalidPromptPack(
            f"{folder} cannot be read: {error.strerror}", expected="a folder of .md files", fix="Name one"
        ) from error
    if not read:
        raise InvalidPromptPack(
            f"There is no .md file in {folder}", expected="one per prompt", fix="Name another folder"
        )
    return read


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(PROMPT_FILE_BYTES_MAX + 1)
    if len(content) > PROMPT_FILE_BYTES_MAX:
        raise InvalidPromptPack(
            f"{path} is too large for a prompt", expected=f"at most {PROMPT_FILE_BYTES_MAX} bytes in all"
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidPromptPack(f"{path} is not UTF-8", fix="Save it as UTF-8") from None
